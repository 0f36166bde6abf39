"""Prefect's UI as a person uses it: in Debian's Chromium, with the words that are on the page.

Names are those of UI v2, which a server of Prefect 3.8.8 shows by default. Everything waits for what it needs, with a
deadline. A JavaScript error, a request of the page's own that fails, and whatever it logs as an error fail the test.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    ConsoleMessage,
    Locator,
    Page,
    Response,
    Route,
    ViewportSize,
    expect,
    sync_playwright,
)

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ("--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
"""Root has no sandbox; and nobody's name is resolved."""
SIZE: ViewportSize = {"width": 1400, "height": 900}
PATIENCE = 20.0
"""For the page to show what the server knows already; seconds."""
RUN_PATIENCE = 120.0
"""For a run to get somewhere; seconds."""
LOOK = 2.0
"""For a tab to show what it was opened for; seconds."""
BUSY = 503
"""SQLite was locked. The page says "Unknown error while creating flow run." and wants to be asked again."""
MOST_BUSY = 10

KNOWN_FAULTS = (
    re.compile(r"404 .*/[\w-]+\.(svg|ico|png)$"),
    re.compile(r"422 .*/api/task_runs/filter$"),
    re.compile(r"/assets/(vendor-pixi|flow-run-graph)-"),
)
"""Of Prefect's UI itself: icons asked for at the wrong place, the task run of an artifact that has none, and whatever
goes wrong in the graph of a run, which fails now and then where tasks appear or the page is left while it is drawn."""

Value = bool | int | float | str | Sequence[str]


@contextlib.contextmanager
def browsing(address: str, screenshots: Path) -> Iterator[UI]:
    """A browser with a profile of its own that reaches nothing but the server.

    Args:
        address: of the server, without a path.
        screenshots: a folder, made if it is missing.

    Raises:
        AssertionError: at the block's end, where a page had errors.
    """
    screenshots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            context = browser.new_context(viewport=SIZE, locale="en-GB", timezone_id="UTC")
            context.set_default_timeout(1000 * PATIENCE)
            context.route("**", _stay_here)
            ui = UI(context.new_page(), address, screenshots)
            yield ui
            assert not ui.errors, "\n".join(ui.errors)
        finally:
            browser.close()


def _changes_a_state(response: Response) -> bool:
    asked = re.search(r"/flow_runs/[^/]+/(set_state|resume)$", response.url)
    return response.request.method == "POST" and asked is not None


def _stay_here(route: Route) -> None:
    if urlsplit(route.request.url).hostname == "127.0.0.1":
        route.continue_()
    else:
        route.fulfill(status=204)


class UI:
    """What is on the pages.

    Args:
        page: empty yet.
        address: of the server, without a path.
        screenshots: the folder they go to.
    """

    def __init__(self, page: Page, address: str, screenshots: Path) -> None:
        self.page = page
        self.address = f"{address}/v2"
        self.screenshots = screenshots
        self.errors: list[str] = []
        self._excused: tuple[re.Pattern[str], ...] = KNOWN_FAULTS
        page.on("pageerror", lambda error: self._note(error.stack or error.message))
        page.on("console", self._listen)

    @property
    def main(self) -> Locator:
        """All but the navigation."""
        return self.page.get_by_role("main")

    def shot(self, name: str, *, whole: bool = False) -> Path:
        """Save what is seen; the file.

        Args:
            name: of the file, without ending.
            whole: the page as long as it is, not the window.
        """
        path = self.screenshots / f"{name}.png"
        self.page.screenshot(path=path, full_page=whole, animations="disabled")
        return path

    def see(self, text: str | re.Pattern[str], seconds: float = PATIENCE) -> None:
        """Wait until the page says it."""
        expect(self.main).to_contain_text(text, timeout=1000 * seconds)

    def open_deployment(self, name: str) -> None:
        """From the list of deployments to the page of one, by its name."""
        self.page.goto(f"{self.address}/deployments")
        self.main.get_by_role("link", name=name, exact=True).click()
        expect(self.main.get_by_role("button", name="Run", exact=True)).to_be_visible()

    def open_run_form(self) -> None:
        """From the page of a deployment to its form, which has all its parameters then."""
        self.main.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        expect(self.main.get_by_role("heading", name="Parameters", exact=True)).to_be_visible()

    def field(self, name: str) -> Locator:
        """A parameter with its label, its description, what it is filled in with, and what is wrong with that."""
        label = self.page.get_by_text(re.compile(rf"^{re.escape(name)}( \(Optional\))?$"))
        return self.main.locator("div:has(> fieldset)").filter(has=label)

    def fill_run_form(self, values: Mapping[str, Value]) -> None:
        """Fill in parameters by their names; the others stay as they are."""
        for name, value in values.items():
            inputs = self.field(name).locator("fieldset")
            if isinstance(value, bool):
                inputs.get_by_role("switch").set_checked(value)
            elif isinstance(value, str | int | float):
                self._fill(name, inputs, str(value))
            else:
                self._fill_list(inputs, value)

    def submit_run(self) -> str:
        """Press Submit; the id of the flow run that was made of it.

        Raises:
            AssertionError: none was made; what the page says.
        """
        for _ in range(MOST_BUSY):
            answer = self._press_submit()
            if answer.status != BUSY:
                break
            self._excuse(rf"{BUSY} .*/create_flow_run$", "Unknown error while creating flow run")
        assert answer.ok, answer.text()
        expect(self.main.get_by_role("button", name="Submit")).to_be_hidden()
        return str(answer.json()["id"])

    def warning(self, name: str) -> str:
        """Press Submit where the browser itself is to warn of a parameter, before anything is sent; its words."""
        self.main.get_by_role("button", name="Submit").click()
        return str(self.field(name).locator("input:invalid").evaluate("field => field.validationMessage"))

    def submit_in_vain(self) -> str:
        """Press Submit where the server is to refuse what the form says; its refusal, as the page shows it.

        Raises:
            AssertionError: a flow run was made of it.
        """
        self._excuse(r"409 .*/create_flow_run$", "Error creating flow run: ")
        answer = self._press_submit()
        assert not answer.ok, answer.text()
        said = self.page.get_by_role("region", name="Notifications").get_by_role("listitem").first
        expect(said).to_be_visible()
        return said.inner_text()

    def flow_run_page(self, flow_run: str, tab: str = "Logs") -> None:
        """Open the page of a flow run.

        Args:
            flow_run: its id.
            tab: as it is written on the page.
        """
        self.page.goto(f"{self.address}/runs/flow-run/{flow_run}")
        self.open_tab(tab)

    def open_tab(self, name: str) -> None:
        """Of the page of a flow run, as it is written there."""
        self.page.get_by_role("tab", name=name, exact=True).click()
        expect(self.page.get_by_role("tabpanel", name=name)).to_be_visible()

    def see_state(self, *names: str, seconds: float = RUN_PATIENCE) -> None:
        """Wait, on the page of a flow run, until it is in one of these states; the page follows by itself."""
        badge = self.main.locator("[data-slot=badge]").filter(has_text=re.compile(rf"^({'|'.join(names)})$"))
        expect(badge).to_be_visible(timeout=1000 * seconds)

    def see_card(self, key: str, text: str | re.Pattern[str] = "", seconds: float = RUN_PATIENCE) -> None:
        """Wait until the tab Artifacts of a flow run's page has one whose card says something.

        What is there is asked for whenever the tab is opened, and not again while it is.
        """
        card = self._card(key).filter(has_text=text)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.open_tab("Logs")
            self.open_tab("Artifacts")
            with contextlib.suppress(AssertionError):
                expect(card).to_be_visible(timeout=1000 * LOOK)
                return
        expect(card).to_be_visible()

    def open_card(self, key: str) -> None:
        """From the tab Artifacts of a flow run to what is in one, by the two clicks that it takes."""
        self._card(key).click()
        self._open_latest()

    def artifact_page(self, key: str) -> None:
        """Open the latest artifact of a key."""
        self.page.goto(f"{self.address}/artifacts/key/{key}")
        self._open_latest()

    def click_retry(self) -> None:
        """On the page of a flow run that has ended."""
        self._click_through("Retry", "Retry")

    def click_pause(self) -> None:
        """On the page of a running flow run, with the time limit that is offered."""
        self._click_through("Pause", "Pause Flow Run")

    def click_resume(self) -> None:
        """On the page of a suspended flow run."""
        self._click_through("Resume", "Resume")

    def click_cancel(self) -> None:
        """On the page of a running flow run."""
        self._click_through("Cancel", "Cancel Flow Run")

    def _fill(self, name: str, inputs: Locator, value: str) -> None:
        choice = inputs.get_by_role("button", name=f"Select {name}", exact=True)
        box = inputs.get_by_role("textbox").or_(inputs.get_by_role("spinbutton"))
        expect(box.or_(choice)).to_be_visible()
        if choice.is_visible():
            choice.click()
            self.page.get_by_role("option", name=value, exact=True).click()
            expect(choice).to_have_text(value)
        else:
            box.fill(value)

    def _fill_list(self, inputs: Locator, values: Sequence[str]) -> None:
        boxes = inputs.get_by_role("textbox")
        expect(inputs.get_by_role("button", name="Add item")).to_be_visible()
        for there in range(boxes.count(), len(values)):
            inputs.get_by_role("button", name="Add item").click()
            expect(boxes).to_have_count(there + 1)
        for there in range(boxes.count(), len(values), -1):
            inputs.get_by_role("button", name="Open menu").last.click()
            self.page.get_by_role("menuitem", name="Delete").click()
            expect(boxes).to_have_count(there - 1)
        for box, value in zip(boxes.all(), values, strict=True):
            box.fill(value)

    def _press_submit(self) -> Response:
        with self.page.expect_response(lambda response: response.url.endswith("/create_flow_run")) as answer:
            self.main.get_by_role("button", name="Submit").click()
        return answer.value

    def _card(self, key: str) -> Locator:
        return self.main.get_by_role("link").filter(has=self.page.get_by_role("heading", name=key, exact=True))

    def _open_latest(self) -> None:
        self.main.get_by_role("link", name=re.compile(r"^[0-9a-f]{8}$")).first.click()
        expect(self.main.get_by_role("tab", name="Artifact", exact=True)).to_be_visible()

    def _click_through(self, item: str, button: str) -> None:
        """Choose from a flow run's menu, and say yes, until the server has said whether it is done.

        Raises:
            AssertionError: the server refused it; its answer.
        """
        self._open_item(item)
        asked = self.page.get_by_role("dialog").or_(self.page.get_by_role("alertdialog"))
        for _ in range(MOST_BUSY):
            with self.page.expect_response(_changes_a_state) as told:
                asked.get_by_role("button", name=button, exact=True).click()
            answer = told.value
            if answer.status != BUSY:
                break
            self._excuse(rf"{BUSY} .*/(set_state|resume)$")
            if asked.is_hidden():
                self._open_item(item)
        assert answer.ok, f"{item}: {answer.status} {answer.text()}"
        expect(asked).to_be_hidden()

    def _open_item(self, item: str) -> None:
        self.main.get_by_role("button", name="Open menu").first.click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def _excuse(self, *faults: str) -> None:
        self._excused = (*self._excused, *map(re.compile, faults))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(f"{message.text} {message.location['url']}")

    def _note(self, error: str) -> None:
        if not any(fault.search(error) for fault in self._excused):
            self.errors.append(error)
