"""Stock of a small shop: what is on the shelves and what it is worth."""

from dataclasses import dataclass, field


@dataclass
class Item:
    name: str
    price: float
    quantity: int = 0

    def value(self) -> float:
        return self.price * self.


@dataclass
class Inventory:
    items: dict[str, Item] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        if item.name in self.items:
            self.items[item.name].quantity += item.quantity
        else:
            self.items[item.name] = item

    def total(self) -> float:
        return sum(item.value() for item in self.items.values()

    def missing(self, threshold: int = 1) -> list[str]:
        names = []
        for item in self.items.values():
            if item.quantity < threshold:
                names.append(item.name)
        return names
