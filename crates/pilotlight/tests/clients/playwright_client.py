"""Playwright for Python, by `connect_over_cdp`: playwright_client.py SESSION_URL TOKEN USER FILE"""

import pathlib
import sys
import urllib.parse

from playwright.sync_api import sync_playwright

from workshop import BUILD, check

session_url, token, user, file = sys.argv[1:5]


def connect(playwright):
    browser = playwright.chromium.connect_over_cdp(session_url, headers={"Authorization": f"Bearer {token}"})
    return browser


def work(playwright):
    browser = connect(playwright)
    check(len(browser.contexts) == 1, "one context")
    context = browser.contexts[0]
    check(len(context.pages) == 1, "one page")
    page = context.pages[0]
    page.wait_for_selector("#user")
    check(user in page.text_content("#user"), "the page is signed in as its user")
    page.evaluate(BUILD)
    page.fill("#text", "typed")
    page.type("#text", " more")
    check(page.input_value("#text") == "typed more", "typed text")
    page.click("#press")
    check(page.text_content("#press") == "pressed 1", "a click")
    page.select_option("#choice", "b")
    check(page.input_value("#choice") == "b", "a selection")
    page.set_input_files("#file", file)
    uploaded = page.evaluate("document.querySelector('#file').files[0].text()")
    check(uploaded == pathlib.Path(file).read_text(), "an upload")
    with page.expect_download() as started:
        page.click("#down")
    check(started.value.suggested_filename == "report.txt", "the name of a download")
    check(pathlib.Path(started.value.path()).read_text() == "hello download", "a download")
    with page.expect_popup() as opened:
        page.click("#popup")
    popup = opened.value
    popup.wait_for_load_state()
    check(popup.url.endswith("/appointments"), "a popup")
    popup.close()
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#ask")
    check(page.text_content("#ask") == "asked true", "a dialog")
    check(page.frame_locator("#frame").locator("#inner").text_content() == "within", "a frame")
    tab = context.new_page()
    tab.goto(urllib.parse.urljoin(page.url, "/appointments"))
    check(len(context.pages) == 2, "a new tab")
    tab.close()
    check(len(page.screenshot()) > 1000, "a screenshot")
    check(page.pdf()[:4] == b"%PDF", "a PDF")
    check(len(context.cookies()) > 0, "cookies")
    context.add_cookies([{"name": "mine", "value": user, "url": page.url}])
    check(any(cookie["value"] == user for cookie in context.cookies()), "a cookie of our own")

    # A context of our own goes with us, and is not signed in.
    own = browser.new_context()
    alone = own.new_page()
    alone.goto(page.url)
    check(alone.query_selector("#user") is None, "a context of our own is not signed in")
    page.evaluate("user => { window.kept = user; }", user)
    browser.close()

    browser = connect(playwright)
    check(len(browser.contexts) == 1, "our own context is gone")
    check(len(browser.contexts[0].pages) == 1, "one page is left")
    again = browser.contexts[0].pages[0]
    check(again.evaluate("window.kept") == user, "the same page with its state")
    check(again.text_content("#press") == "pressed 1", "the same document")
    browser.close()


with sync_playwright() as playwright:
    work(playwright)
print("done")
