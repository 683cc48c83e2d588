"""Every wound that the mutation tests make, each with the test that must fail of it.

Constraints and unique indexes are not here: `test_tables.py` removes each in turn by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from coordinator.store.queries import names, query
from tests.integration.schema.mutation import Mutation


@dataclass(frozen=True, slots=True)
class Wound:
    """What is broken; the test that must fail (`file::name` without the `test_`); which of it."""

    mutation: Mutation
    test: str
    which: str = ""


TRIGGERS: Mapping[str, tuple[str, str]] = {
    "handoffs_1_arrive": ("handoffs", "arrival::a_handoff_is_not_its_own_parent"),
    "handoffs_queued": ("handoffs", "notifications::a_new_handoff_rings_with_its_address"),
    "handoffs_1_complete": ("handoffs", "fencing::a_plain_agent_completes_its_row"),
    "handoffs_2_result": ("handoffs", "limits::a_result_above_the_limit_is_refused"),
    "handoffs_3_refuse": ("handoffs", "handoffs_by_plain_sql::retries_do_not_change_by_themselves"),
    "handoffs_changed": ("handoffs", "events::a_whole_life_is_told_in_order"),
    "handoffs_deleted": (
        "handoffs",
        "agents::deleting_a_held_handoff_frees_its_agent_and_leaves_an_event",
    ),
    "handoffs_truncated": (
        "handoffs",
        "agents::truncating_the_queue_frees_every_agent_and_leaves_an_event",
    ),
    "agent_status_1_arrive": ("agent_status", "agents::a_last_seen_in_the_future_becomes_now"),
    "agent_status_1_refuse": (
        "agent_status",
        "agent_life_cycle::current_handoff_does_not_change_by_hand",
    ),
    "agent_status_2_speak": (
        "agent_status",
        "agent_life_cycle::blocked_said_without_a_reason_is_said",
    ),
    "agent_status_arrived": ("agent_status", "agents::an_agent_registers_and_is_idle"),
    "agent_status_changed": (
        "agent_status",
        "agent_life_cycle::each_status_that_an_agent_says_is_an_event",
    ),
    "agent_status_removed": ("agent_status", "agents::an_agent_that_holds_work_is_not_deleted"),
    "agent_status_truncated": (
        "agent_status",
        "agents::agents_that_hold_work_are_not_truncated_away",
    ),
    "handoffs_rescheduled": ("handoffs", "doorbell::what_leaves_no_event_rings_though_hushed"),
    "leadership_begins": (
        "coordination.leadership",
        "doorbell::a_new_term_begins_with_everybody_ringing",
    ),
    "coordination_events_append_only": (
        "coordination_events",
        "events::the_events_are_append_only",
    ),
}
"""A trigger's table, and what fails without it."""

PLANS = "plans::a_hot_statement_keeps_its_index"
INDEXES: Mapping[str, tuple[str, str]] = {
    "handoffs_due": (PLANS, "dispatch"),
    "handoffs_delayed": (PLANS, "make_due"),
    "handoffs_with_deadline": (PLANS, "end_overdue"),
    "handoffs_unaccepted": (PLANS, "take_back_unaccepted"),
    "handoffs_with_time_limit": (PLANS, "take_back_timed_out"),
    "handoffs_to_cancel": (PLANS, "end_cancelled"),
    "coordination_events_by_transaction": (PLANS, "read_events"),
}
"""A plain index of a hot statement, and what fails without it."""

SKIPS: Mapping[tuple[str, int], str] = {
    ("dispatch", 0): "dispatch::a_locked_agent_is_skipped_and_the_work_is_left_over",
    ("dispatch", 1): "dispatch::a_locked_handoff_is_passed_by",
}
"""What fails where a statement's nth `skip locked` is missing, if it is not the sweeps' test."""

WAITS = "sweeping::a_sweep_never_waits_for_a_lock"

OLD_LIFE = "lives::the_old_lifes_calls_are_refused"
TOKENS: Mapping[tuple[str, str], str] = {
    ("coordination.is_token", "h.status = 'in_progress'"): (
        "fencing::completing_twice_without_an_incarnation_is_repeated"
    ),
    ("coordination.is_token", "h.attempt = is_token.attempt"): (
        "fencing::accept_and_progress_refuse_a_wrong_token"
    ),
    ("coordination.is_token", "h.assigned_agent = is_token.agent_name"): (
        "fencing::accept_and_progress_refuse_a_wrong_token"
    ),
    ("coordination.is_token", "h.held_by is not distinct from is_token.incarnation"): (
        "fencing::accept_and_progress_refuse_a_wrong_token"
    ),
    (
        "coordination.was_settled",
        "(given.detail ->> 'incarnation')::uuid is not distinct from was_settled.incarnation",
    ): "fencing::another_life_does_not_repeat_what_it_never_settled",
    (
        "coordination.keep_late_word",
        "a.incarnation is not distinct from keep_late_word.incarnation",
    ): "lives::the_old_lifes_late_word_does_not_lift_the_verdict_on_the_new_one",
    (
        "public.heartbeat_many",
        "a.incarnation is not distinct from heartbeat_many.incarnation",
    ): "agents::many_agents_of_one_process_beat_at_once",
    ("public.heartbeat", "a.incarnation is not distinct from heartbeat.incarnation"): OLD_LIFE,
    (
        "public.set_agent_status",
        "a.incarnation is not distinct from set_agent_status.incarnation",
    ): OLD_LIFE,
    (
        "public.held_handoff",
        "a.incarnation is not distinct from held_handoff.incarnation",
    ): "lives::only_the_present_life_is_told_what_it_holds",
    (
        "coordination.check_incarnation",
        "agent.incarnation is distinct from check_incarnation.incarnation",
    ): OLD_LIFE,
    (
        "public.register_agent",
        "agent.incarnation is distinct from register_agent.incarnation",
    ): "lives::a_new_life_takes_back_at_once_what_the_old_one_holds",
}
"""A comparison of a token in a function, and what fails where it always passes."""

BOUND = "bound_logins"
POLICIES: Mapping[tuple[str, str], tuple[str, str]] = {
    ("agent_status", "plain_agent_arrives"): (
        "with check",
        "a_plain_bound_login_takes_nothing_of_another_agents",
    ),
    ("agent_status", "plain_agent_speaks"): (
        "using",
        "a_plain_bound_login_changes_no_row_of_another_agents",
    ),
    ("handoffs", "plain_agent_sends"): (
        "with check",
        "a_plain_bound_login_takes_nothing_of_another_agents",
    ),
    ("handoffs", "plain_agent_ends"): (
        "using",
        "a_plain_bound_login_cannot_end_what_it_sent_and_another_holds",
    ),
    ("handoffs", "plain_agent_reads"): (
        "using",
        "a_plain_bound_login_sees_the_handoffs_that_concern_it_and_all_agents",
    ),
}
"""A policy that looks at the binding: its half to be opened, and what fails then."""

OTHERS: Mapping[str, Wound] = {
    "nobody is asked for its login": Wound(
        Mutation(place="coordination.check_login", old="mine.login is null", new="true"),
        f"{BOUND}::a_bound_login_cannot_call_for_another_agent",
    ),
    "a login may take any role": Wound(
        Mutation(
            place="public.register_agent",
            old=", register_agent.roles);",
            new=");",
            nth=0,
        ),
        f"{BOUND}::it_cannot_take_an_address_that_it_was_not_given",
    ),
    "anybody cancels": Wound(
        Mutation(
            place="public.cancel_handoff",
            old="(mine.agent_name in (h.from_agent, h.assigned_agent)) is not true",
            new="false",
        ),
        f"{BOUND}::a_bound_login_cannot_call_for_another_agent",
    ),
    "every handoff is shown": Wound(
        Mutation(place="public.get_handoff", old="mine.login is null", new="true"),
        f"{BOUND}::it_reads_the_handoffs_that_concern_it",
    ),
    "a binding holds here alone": Wound(
        Mutation(
            place="coordination.binding",
            old="pg_has_role(session_user, to_regrole('coordinator_bound_agent'), 'member')",
            new="false",
        ),
        f"{BOUND}::in_another_database_a_bound_login_is_nobody",
    ),
    "the administrator is bound": Wound(
        Mutation(place="coordination.binding", old="and not m.admin_option", new=""),
        f"{BOUND}::whoever_administers_the_role_is_not_bound_by_it",
    ),
    "the role decides, not the login": Wound(
        Mutation(place="coordination.binding", old="session_user", new="current_user"),
        f"{BOUND}::a_bound_login_cannot_call_for_another_agent",
    ),
    "rows are open": Wound(
        Mutation(sql="alter table handoffs disable row level security"),
        f"{BOUND}::becoming_the_plain_role_does_not_open_others_rows",
    ),
    "beats wait for whoever is locked": Wound(
        Mutation(
            place="public.heartbeat_many",
            old="skip locked\n  ), beaten",
            new="\n  ), beaten",
        ),
        "concurrency::a_heartbeat_of_many_does_not_wait_for_one_that_is_locked",
    ),
    "beats wait for nobody": Wound(
        Mutation(
            place="public.heartbeat_many",
            old="where a.id = any (passed_over)\n        and",
            new="where false and",
        ),
        "concurrency::a_heartbeat_of_many_waits_for_one_that_is_about_to_be_free",
    ),
    "agents are freed in no order": Wound(
        Mutation(
            place="coordination.free_agents", old="order by a.agent_name for no key update", new=""
        ),
        "concurrency::agents_are_locked_in_the_order_of_their_names",
        "5000",
    ),
    "a handoff is read and not locked": Wound(
        Mutation(place="coordination.lock_handoff", old="for update", new=""),
        "concurrency::two_completions_at_once_are_applied_once",
    ),
    "a registering agent does not lock what it holds": Wound(
        Mutation(
            place="coordination.lock_agent",
            old="perform from public.handoffs h where h.id = held for update;",
            new="null;",
        ),
        "concurrency::an_agent_that_registers_waits_for_what_it_holds_first",
    ),
    "a lapsed attempt has no last one": Wound(
        Mutation(
            place="coordination.take_back", old="was.attempt >= was.max_attempts", new="false"
        ),
        "retries::a_crash_loop_is_bounded_by_max_attempts",
    ),
    "a forced end frees": Wound(
        Mutation(place="coordination.free_agents", old="when d.forced then 'blocked'", new=""),
        "retries::an_attempt_past_its_time_is_taken_back_and_its_agent_blocked",
    ),
    "dispatch believes the status": Wound(
        Mutation(place="dispatch.sql", old="and a.last_seen > now() -", new="and now() > now() -"),
        "dispatch::a_stale_agent_is_never_picked",
    ),
    "dispatch leaves gaps": Wound(
        Mutation(
            place="dispatch.sql",
            old="row_number() over (partition by c.address order by c.rank) as rank",
            new="c.rank as rank",
        ),
        "dispatch::an_agent_wanted_at_two_addresses_lets_nobody_overtake",
    ),
    "dispatch meets twice": Wound(
        Mutation(place="dispatch.sql", old="select distinct on (a.agent_name) a", new="select a"),
        "dispatch::an_agent_wanted_at_two_addresses_takes_the_most_urgent",
    ),
    "types are looked up in the temporary schema first": Wound(
        Mutation(
            sql="alter function coordination.handoff_arrives() set search_path = '';"
            "alter function coordination.handoffs_queued() set search_path = ''"
        ),
        "grants::a_strangers_types_do_not_run_with_the_owners_rights",
    ),
    "an index holds last_seen": Wound(
        Mutation(sql="create index by_last_seen on agent_status (last_seen)"),
        "agents::heartbeats_stay_hot_updates",
    ),
    "the public may call": Wound(
        Mutation(sql="grant execute on function retry_handoff to public"),
        "privileges::a_role_may_call_what_it_needs",
        "without",
    ),
}
"""Locks, limits, plans and rights."""


def wounds() -> Iterator[tuple[str, Wound]]:
    """Every wound with its name."""
    for trigger, (table, test) in TRIGGERS.items():
        yield trigger, Wound(Mutation(sql=f"drop trigger {trigger} on {table}"), test)
    for index, (test, which) in INDEXES.items():
        yield index, Wound(Mutation(sql=f"drop index {index}"), test, which)
    for name, nth in skips():
        mutation = Mutation(place=f"{name}.sql", old="skip locked", nth=nth)
        test = SKIPS.get((name, nth), WAITS)
        yield f"skip locked {nth} of {name}", Wound(mutation, test, name if test == WAITS else "")
    for (function, compared), test in TOKENS.items():
        always = "false" if " is distinct from " in compared else "true"
        yield f"{function}: {compared}", Wound(Mutation("", function, compared, always), test)
    for (table, policy), (half, test) in POLICIES.items():
        mutation = Mutation(sql=f"alter policy {policy} on {table} {half} (true)")
        yield f"{policy} on {table} is open", Wound(mutation, f"{BOUND}::{test}")
    yield from OTHERS.items()


def skips() -> Iterator[tuple[str, int]]:
    """Every `skip locked` in a statement."""
    for name in names():
        for nth in range(query(name).text.count("skip locked")):
            yield name, nth
