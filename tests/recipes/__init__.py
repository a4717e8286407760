"""Tests of recipes: optimisers, schedules, interventions."""
