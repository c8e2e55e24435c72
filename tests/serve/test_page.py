"""The live page in a real browser, against a real server."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from headwater.serve.server import Server
from serve.memory import MemoryService

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="needs Debian's chromium and chromium-driver: apt install chromium-driver",
    ),
]


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    assert CHROMIUM
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    yield chrome
    chrome.quit()


class Page:
    """The page as a reader sees it."""

    def __init__(self, chrome: webdriver.Chrome, url: str) -> None:
        self.chrome = chrome
        self.url = url
        chrome.get("about:blank")
        for log in ("browser", "performance"):
            chrome.get_log(log)  # what earlier tests left

    def open(self, path: str = "/") -> Page:
        self.chrome.get(self.url + path)
        return self

    def find(self, css: str) -> WebElement:
        return self.until(lambda: self.chrome.find_element(By.CSS_SELECTOR, css))

    def texts(self, css: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        return list(self.chrome.execute_script(script, css))

    def table(self, within: str) -> list[list[str]]:
        script = (
            "return [...document.querySelectorAll(arguments[0] + ' tbody tr')]"
            ".map(r => [...r.children].map(c => c.textContent))"
        )
        return list(self.chrome.execute_script(script, within))

    def click(self, css: str) -> None:
        self.find(css)
        # Found again in the page itself: a redraw in between would leave the element stale.
        self.chrome.execute_script("document.querySelector(arguments[0]).click()", css)

    def tab(self, title: str) -> None:
        buttons = self.chrome.find_elements(By.CSS_SELECTOR, "[role=tab]")
        next(b for b in buttons if b.text.startswith(title)).click()

    def until(self, claim: Callable[[], Any]) -> Any:
        """Wait until the claim holds; return what it says."""
        return WebDriverWait(self.chrome, 15, poll_frequency=0.05).until(lambda _: claim())

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.chrome.get_log("browser")]

    def hosts(self) -> set[str]:
        """The hosts that the page asked for anything."""
        asked = set()
        for entry in self.chrome.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if urlsplit(url).scheme not in ("chrome", "about", "data"):
                    asked.add(urlsplit(url).netloc)
        return asked


@pytest.fixture
def page(chrome: webdriver.Chrome, server: Server) -> Page:
    return Page(chrome, server.url)


def click_on(ad: int, visitor: str = "ann") -> dict[str, object]:
    return {"ad": ad, "visitor": visitor, "ts": "2026-01-01T12:00:00"}


def test_the_page_draws_every_topic_view_and_sink(page: Page) -> None:
    page.open()

    names = page.until(lambda: page.texts(".box .name"))

    assert sorted(names) == ["campaigns", "clicks", "lake", "ledger", "per_ad", "per_campaign"]
    assert len(page.texts("path.edge")) == 5
    assert page.find("#pipeline").text == "shop"
    assert page.complaints() == []
    assert page.hosts() == {urlsplit(page.url).netloc}


def test_inputs_stand_left_of_what_reads_them(page: Page) -> None:
    page.open()
    page.until(lambda: page.texts(".box .name"))

    def left(name: str) -> float:
        box = next(b for b in page.chrome.find_elements(By.CSS_SELECTOR, ".box") if name in b.text)
        return float(box.rect["x"])

    assert left("clicks") < left("per_ad") < left("per_campaign") < left("lake")


def test_the_numbers_move_when_rows_come(page: Page, client: httpx.Client) -> None:
    page.open()
    page.until(lambda: page.texts("#epoch") == ["0"])

    client.post("/topics/clicks", json=[click_on(7), click_on(8), {"ad": 1}])

    page.until(lambda: page.texts("#epoch") == ["1"])
    assert page.texts(".box[data-id='r:clicks'] .rows") == ["2 rows"]
    assert page.texts(".box[data-id='r:clicks'] .marks") == ["1 rejected"]
    assert page.texts("#watermark") == ["12:00:00"]


def test_a_view_is_a_live_table(page: Page, client: httpx.Client) -> None:
    client.post("/topics/clicks", json=[click_on(7)])
    page.open()
    page.click("[data-id='r:per_ad']")
    page.until(lambda: page.table("#panel") == [["7", "1"]])

    client.post("/topics/clicks", json=[click_on(7), click_on(8)])

    page.until(lambda: page.table("#panel") == [["7", "2"], ["8", "1"]])
    assert page.texts("#panel th small") == ["bigint", "bigint"]


def test_a_click_on_a_column_sorts_by_it(page: Page, client: httpx.Client) -> None:
    client.post("/topics/clicks", json=[click_on(7), click_on(8), click_on(8)])
    page.open()
    page.click("[data-id='r:per_ad']")
    page.until(lambda: page.table("#panel") == [["7", "1"], ["8", "2"]])

    page.click("#panel th:nth-child(2) button")

    page.until(lambda: page.table("#panel") == [["8", "2"], ["7", "1"]])
    assert page.find("#panel th:nth-child(2)").get_attribute("aria-sort") == "descending"


def test_the_changes_are_signed_and_the_newest_first(page: Page, client: httpx.Client) -> None:
    client.post("/topics/clicks", json=[click_on(7)])
    client.post("/topics/clicks", json=[click_on(7)])
    page.open()
    page.click("[data-id='r:per_ad']")
    page.until(lambda: page.table("#panel"))

    page.tab("Changes")

    page.until(lambda: len(page.table("#panel")) == 3)
    assert [row[:2] for row in page.table("#panel")] == [["7", "2"], ["7", "1"], ["7", "1"]]
    script = "return [...document.querySelectorAll('#panel tbody tr')].map(r => r.className)"
    assert page.chrome.execute_script(script) == ["added", "withdrawn", "added"]


def test_rejected_rows_are_shown_with_their_reason(page: Page, client: httpx.Client) -> None:
    client.post("/topics/clicks", json=[{"ad": "seven", "visitor": "ann", "ts": ""}])
    page.open()
    page.click("[data-id='r:clicks']")
    page.until(lambda: page.texts("[role=tab]"))

    page.tab("Rejected")

    page.until(lambda: "'seven' is not a BIGINT" in str(page.table("#panel")))


def test_what_is_in_the_data_is_only_ever_text(page: Page, client: httpx.Client) -> None:
    attack = "<img src=x onerror=alert(1)><b>bold</b>"
    client.post("/topics/clicks", json=[click_on(7, attack)])
    page.open()

    page.click("[data-id='r:clicks']")

    page.until(lambda: attack in str(page.table("#panel")))
    assert page.chrome.find_elements(By.CSS_SELECTOR, "#panel img, #panel b") == []


def test_a_question_is_answered_below_it(page: Page, client: httpx.Client) -> None:
    client.post("/topics/clicks", json=[click_on(7), click_on(8)])
    page.open()
    page.until(lambda: page.find("#sql").get_attribute("value"))
    box = page.find("#sql")
    box.clear()

    box.send_keys("SELECT ad, visitor FROM clicks ORDER BY ad", Keys.CONTROL, Keys.ENTER)

    page.until(lambda: page.table("#ask-answer") == [["7", "ann"], ["8", "ann"]])
    assert page.texts("#ask-note")[0].startswith("2 rows in ")
    assert page.complaints() == []


def test_a_wrong_question_is_underlined_where_it_is_wrong(page: Page) -> None:
    page.open()
    page.until(lambda: page.find("#sql").get_attribute("value"))
    box = page.find("#sql")
    box.clear()

    box.send_keys("SELECT *\nFROM click")
    page.click("#ask-form .primary")

    page.until(lambda: page.texts("#ask-error mark") == ["click"])
    assert page.texts("#ask-error .hint") == ["Hint: did you mean clicks?"]


def test_a_lost_connection_is_told_and_found_again(
    chrome: webdriver.Chrome, service: MemoryService
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    first = Server(service, port=port)
    first.start()
    page = Page(chrome, first.url).open()
    page.until(lambda: page.texts(".box .name"))
    assert not page.find("#lost").is_displayed()

    first.stop()
    page.until(lambda: page.find("#lost").is_displayed())

    second = Server(service, port=port)
    second.start()
    try:
        page.until(lambda: not page.find("#lost").is_displayed())
    finally:
        second.stop()


def test_the_page_works_from_the_keyboard(page: Page) -> None:
    page.open()
    page.until(lambda: page.texts(".box .name"))
    box = page.find("[data-id='r:clicks']")
    box.send_keys(Keys.ENTER)
    page.until(lambda: page.texts("#detail h2") == ["clicks"])

    tab = page.find("[role=tab][aria-selected=true]")
    tab.send_keys(Keys.ARROW_RIGHT)

    page.until(lambda: page.find("[role=tab][aria-selected=true]").text == "Rejected")
    assert page.chrome.switch_to.active_element.text == "Rejected"


def test_a_phone_shows_all_without_scrolling_sideways(page: Page) -> None:
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.open()
        page.until(lambda: page.texts(".box .name"))

        assert page.chrome.execute_script("return document.documentElement.scrollWidth") <= 360
        boxes = page.chrome.find_elements(By.CSS_SELECTOR, ".box")
        assert all(b.rect["x"] + b.rect["width"] <= 360 for b in boxes)
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_api_is_explained_without_another_host(page: Page) -> None:
    page.open("/docs")

    page.until(lambda: page.texts(".endpoint h2"))

    assert page.texts(".endpoint h2") == [
        "/topics/{name}",
        "/topics/{name}/rows",
        "/topics/{name}/producers",
        "/topics/{name}/schema",
        "/topics/{name}/schema",
        "/topics/{name}/rejected",
        "/topics/{name}/rejected",
        "/tables/{name}/row",
        "/tables/{name}/row",
        "/views/{name}",
        "/views/{name}/changes",
        "/consumers",
        "/consumers/{group}/{name}",
        "/consumers/{group}/{name}",
        "/consumers/{group}/{name}",
        "/consumers/{group}/{name}/commit",
        "/consumers/{group}/{name}/release",
        "/consumers/{group}/{name}/seek",
        "/sql",
        "/status",
        "/metrics",
        "/healthz",
    ]
    assert page.complaints() == []
    assert page.hosts() == {urlsplit(page.url).netloc}


def test_no_file_of_the_page_names_another_host() -> None:
    folder = Path(__file__).parents[2] / "src/headwater/serve/page"
    named = {
        word
        for file in folder.iterdir()
        for word in file.read_text().split()
        if "//" in word and ("http:" in word or "https:" in word) and "w3.org" not in word
    }

    assert named == set()
