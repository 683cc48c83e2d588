"""The entity diagram of the schema's page is what the database says."""

from tests.support.diagram import PAGE, diagram, with_diagram
from tests.support.postgres import Connection


async def test_the_diagram_is_up_to_date(admin: Connection) -> None:
    page = PAGE.read_text("utf-8")

    assert with_diagram(page, await diagram(admin)) == page, "run: make docs"
