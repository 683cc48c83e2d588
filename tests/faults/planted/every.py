"""All plants."""

from tests.faults.planted import attempts, order, rows
from tests.faults.planted.plant import Plant

PLANTS = [
    plant
    for module in (rows, attempts, order)
    for plant in vars(module).values()
    if isinstance(plant, Plant)
]
