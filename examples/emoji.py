"""Weather in one character: columns count characters, however many bytes they have."""

ICONS = {"sun": "☀️", "rain": "🌧️", "snow": "❄️", "family": "👨‍👩‍👧"}


def describe(weather, temperature):
    icon = ICONS.get(weather, "❓"
    if temperature < 0:
        return f"{icon} 🥶 {temperature} °C"
    return f"{icon} {temperature} °C"


def forecast(days):
    lines = [f"📅 {day}: {describe(weather, temperature)}" for day, weather, temperature in days]
    return "\n".join(lines)
