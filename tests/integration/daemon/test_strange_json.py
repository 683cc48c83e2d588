"""JSON that PostgreSQL keeps and Python does not read: nobody who writes it ends those who read."""

from uuid import uuid4

import pytest

from tests.integration.daemon.daemons import QUICK_TAIL, leader
from tests.support.postgres import Database
from tests.support.sdk import desk_at

_DEEP = '{"a": ' + "[" * 2000 + "]" * 2000 + "}"
_LONG = '{"a": 1' + "0" * 5000 + "}"


@pytest.mark.parametrize("strange", [_DEEP, _LONG], ids=["deep", "long"])
async def test_the_daemon_tells_of_progress_that_it_cannot_read_and_goes_on(
    database: Database, strange: str
) -> None:
    life = uuid4()
    async with leader(database, QUICK_TAIL, log_level="debug") as daemon, desk_at(database) as desk:
        await desk.sql.execute("select agent_name from register_agent('ada', $1)", life)
        handoff_id = await desk.put()
        await desk.reaches(handoff_id, status="in_progress")
        await desk.sql.execute(
            "select report_progress($1, 1, 'ada', $2, 'half way', $3::text::jsonb)",
            handoff_id,
            life,
            strange,
        )
        await desk.sql.execute("select complete_handoff($1, 1, 'ada', $2)", handoff_id, life)
        await daemon.seen("handoff.succeeded", handoff_id=str(handoff_id))

        assert daemon.logged("handoff.progressed", handoff_id=str(handoff_id))
