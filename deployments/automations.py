"""What a Prefect server does by itself for our runs: marks those that died, has them taken up again, tells people.

Each automation is known by its name, and renewed in place where it has changed; one that somebody has switched off
stays off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture

SILENCE = timedelta(seconds=120)
"""After which a run whose heart beats every 30 seconds counts as dead; a server is restarted in less."""
HOOK = "banzuke-notify"
"""The block that keeps the address for notifications."""
RECOVER, BACKFILL = "recover-run/recover", "backfill-runs/backfill"
LEFT_LYING = (RECOVER, "play-share/share")
"""What is not taken up again: the games of a share are its tournament's."""
ZOMBIES, CRASHED, BACKFILLS, REGRESSIONS = (
    "banzuke: dead runs are marked crashed",
    "banzuke: crashed runs are taken up again",
    "banzuke: void games are played again",
    "banzuke: tell of a regression",
)


def make_automations(client: SyncPrefectClient, deployments: Mapping[str, UUID], *, notify: str | None) -> list[str]:
    """Make or renew all of them.

    Args:
        client: of the server.
        deployments: the id of each of ours, by its full name.
        notify: the address that notifications are posted to; None for the one that there is, if there is one.

    Returns:
        The names of those that are switched on.
    """
    hook = _make_hook(client, notify)
    return [wanted.name for wanted in _automations(deployments, hook) if _make(client, wanted)]


def _make(client: SyncPrefectClient, wanted: AutomationCore) -> bool:
    known: list[Automation] = client.read_automations_by_name(wanted.name)
    if not known:
        client.create_automation(wanted)
        return True
    as_it_is = wanted.model_copy(update={"enabled": known[0].enabled})
    # One that is put there anew forgets what it has heard of runs that died just now.
    if any(getattr(known[0], field) != getattr(as_it_is, field) for field in AutomationCore.model_fields):
        client.update_automation(known[0].id, as_it_is)
    return known[0].enabled


def _each(event: str, *, of: str, **further: Any) -> EventTrigger:  # noqa: ANN401 - what a trigger takes
    """Every single event of that kind."""
    return EventTrigger(
        match={"prefect.resource.id": of}, expect={event}, posture=Posture.Reactive, threshold=1, **further
    )


def _automations(deployments: Mapping[str, UUID], hook: UUID | None) -> Iterator[AutomationCore]:
    recovered = [f"prefect.deployment.{known}" for name, known in deployments.items() if name not in LEFT_LYING]
    of_ours = {"prefect.resource.role": "deployment", "prefect.resource.id": recovered}
    take_up = RunDeployment(deployment_id=deployments[RECOVER], parameters={"flow_run_id": "{{ event.resource.id }}"})
    yield AutomationCore(
        name=ZOMBIES,
        description="A run whose heart has stopped, or never began to beat, has lost its process and its worker.",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=of_ours,
            after={"prefect.flow-run.heartbeat", "prefect.flow-run.Pending"},
            expect={"prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"nothing was heard of its process for {SILENCE.total_seconds():.0f} seconds",
            ),
            # A server that was restarted since the run began keeps back the event of its crash for 15 minutes.
            take_up,
        ],
    )
    yield AutomationCore(
        name=CRASHED,
        description="The same flow run goes on, and plays what is missing; a few times, then it is left lying.",
        trigger=_each("prefect.flow-run.Crashed", of="prefect.flow-run.*", match_related=of_ours),
        actions=[take_up],
    )
    yield AutomationCore(
        name=BACKFILLS,
        description="A run that ended with void or missing games says so while attempts are left.",
        trigger=_each("banzuke.backfill.due", of="banzuke.run.*"),
        actions=[
            RunDeployment(
                deployment_id=deployments[BACKFILL],
                parameters={"runs": ["{{ event.payload.run_id }}"], "attempt": "{{ event.payload.attempt }}"},
            )
        ],
    )
    if hook is not None:
        yield AutomationCore(
            name=REGRESSIONS,
            description="The newest checkpoint is weaker than the one before by more than the run's margin.",
            trigger=_each("banzuke.rating.regressed", of="banzuke.run.*"),
            actions=[
                SendNotification(
                    block_document_id=hook,
                    subject="Banzuke: {{ event.payload.agent }} is weaker than {{ event.payload.versus }}",
                    body=(
                        "{{ event.payload.agent }} is {{ event.payload.elo }} Elo against {{ event.payload.versus }} "
                        "(95 %: {{ event.payload.low }} to {{ event.payload.high }}) in run {{ event.payload.run_id }}."
                    ),
                )
            ],
        )


def _make_hook(client: SyncPrefectClient, notify: str | None) -> UUID | None:
    if notify is None:
        known = client.read_block_documents_by_type(CustomWebhookNotificationBlock.get_block_type_slug())
        return next((block.id for block in known if block.name == HOOK), None)
    block = CustomWebhookNotificationBlock(
        name="Banzuke",
        url=notify,
        # Slack and Mattermost read `text`, Discord `content`, programs the other two.
        json_data={
            "text": "{{subject}}\n{{body}}",
            "content": "{{subject}}\n{{body}}",
            "subject": "{{subject}}",
            "body": "{{body}}",
        },
    )
    return UUID(str(block.save(HOOK, overwrite=True)))
