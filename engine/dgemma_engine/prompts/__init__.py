"""What a checkpoint that follows instructions is told: its chat template, and one file for each prompt."""
