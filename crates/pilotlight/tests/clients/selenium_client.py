"""Selenium for Python, through WebDriver: selenium_client.py SERVER_URL SESSION_ID USER FILE

SERVER_URL carries the token as a password: http://pilotlight:TOKEN@127.0.0.1:7070
"""

import base64
import json
import pathlib
import sys
import time
import urllib.parse
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from workshop import BUILD, check

server_url, session_id, user, file = sys.argv[1:5]


def connect(bidi=False):
    options = webdriver.ChromeOptions()
    options.enable_bidi = bidi
    options.set_capability("pilotlight:options", {"session_id": session_id})
    driver = webdriver.Remote(server_url, options=options)
    return driver


def downloads():
    url = urllib.parse.urlsplit(server_url)
    basic = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    address = f"http://{url.hostname}:{url.port}/sessions/{session_id}/files"
    request = urllib.request.Request(address, headers={"Authorization": f"Basic {basic}"})
    return [file["name"] for file in json.load(urllib.request.urlopen(request))["files"]]


def until(what, condition):
    deadline = time.monotonic() + 30
    while not condition():
        check(time.monotonic() < deadline, what)
        time.sleep(0.05)


def work():
    driver = connect()
    find = lambda selector: driver.find_element(By.CSS_SELECTOR, selector)
    check(driver.capabilities["pilotlight:options"] == {"session_id": session_id}, "the session that was asked for")
    check(len(driver.window_handles) == 1, "one page")
    first = driver.current_window_handle
    WebDriverWait(driver, 30).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#user"))
    check(user in find("#user").text, "the page is signed in as its user")
    driver.execute_script(BUILD)
    find("#text").send_keys("typed more")
    check(find("#text").get_property("value") == "typed more", "typed text")
    find("#press").click()
    check(find("#press").text == "pressed 1", "a click")
    Select(find("#choice")).select_by_value("b")
    check(find("#choice").get_property("value") == "b", "a selection")
    find("#file").send_keys(file)
    uploaded = driver.execute_script("return document.querySelector('#file').files[0].text()")
    check(uploaded == pathlib.Path(file).read_text(), "an upload")
    find("#down").click()
    until("a download", lambda: "report.txt" in downloads())
    find("#popup").click()
    until("a popup", lambda: len(driver.window_handles) == 2)
    driver.switch_to.window(next(handle for handle in driver.window_handles if handle != first))
    until("the popup's page", lambda: driver.current_url.endswith("/appointments"))
    driver.close()
    driver.switch_to.window(first)
    find("#ask").click()
    driver.switch_to.alert.accept()
    check(find("#ask").text == "asked true", "a dialog")
    driver.switch_to.frame(find("#frame"))
    check(find("#inner").text == "within", "a frame")
    driver.switch_to.default_content()
    home = driver.current_url
    driver.switch_to.new_window("tab")
    driver.get(urllib.parse.urljoin(home, "/appointments"))
    check(len(driver.window_handles) == 2, "a new tab")
    driver.close()
    driver.switch_to.window(first)
    check(len(driver.get_screenshot_as_png()) > 1000, "a screenshot")
    check(base64.b64decode(driver.print_page())[:4] == b"%PDF", "a PDF")
    check(len(driver.get_cookies()) > 0, "cookies")
    driver.add_cookie({"name": "mine", "value": user})
    check(driver.get_cookie("mine")["value"] == user, "a cookie of our own")
    # What of Chromium's own protocol Selenium has a way for.
    version = driver.execute_cdp_cmd("Browser.getVersion", {})
    check("Chrome" in version["product"], "a command of the DevTools protocol")
    driver.execute_script("window.kept = arguments[0]", user)
    driver.quit()

    driver = connect()
    check(driver.window_handles == [first], "one page is left, the same")
    check(driver.execute_script("return window.kept") == user, "the same page with its state")
    check(driver.find_element(By.CSS_SELECTOR, "#press").text == "pressed 1", "the same document")
    driver.quit()

    # WebDriver BiDi, in the same page.
    driver = connect(bidi=True)
    check(driver.window_handles == [first], "no page more")
    contexts = driver.browsing_context.get_tree()
    check([context.context for context in contexts] == [first], "the same page by its other name")
    heard = []
    driver.script.add_console_message_handler(lambda entry: heard.append(entry.text))
    driver.execute_script("console.log(window.kept)")
    until("what the page says", lambda: heard == [user])
    driver.quit()


work()
print("done")
