"""What a recipe is made of: schedules, optimisers, interventions."""
