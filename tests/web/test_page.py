"""The status page in a real headless Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from edge.status import view
from edge.status.server import StatusServer
from tests.web.memory_shop import MemoryShop, a_camera, a_cart, a_review, an_event

Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, server: StatusServer) -> Iterator[Open]:
    contexts, problems = [], []

    def open_page(width: int = 1280, height: int = 1000, scheme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text) if "Content Security Policy" in message.text else None
            ),
        )
        page.goto(server.url)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def background(page: Page) -> int:
    """Return how bright the page is, 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour[4:-1].split(",")) // 3


def test_cameras_carts_events_and_reviews_are_there(open_page: Open) -> None:
    page = open_page()

    expect(page.locator(".camera")).to_have_count(2)
    expect(page.locator(".camera", has_text="front")).to_contain_text("14.9 frames/s")
    expect(page.locator(".cart")).to_contain_text("Royal gala apples")
    expect(page.locator(".cart tfoot")).to_contain_text("69.30")
    expect(page.locator(".events li").first).to_contain_text("Put back Oat drink, 1 l")
    expect(page.locator(".question")).to_contain_text("Somebody took an item from shelf-1")
    expect(page.locator("#facts")).to_contain_text("1.0.0")
    expect(page.locator("#facts")).to_contain_text("certificate until 2027-01-15")
    expect(page.locator(".camera img").first).to_have_js_property("naturalWidth", 640)
    shown = page.locator(".question img").all()
    assert shown
    for image in shown:
        expect(image).not_to_have_js_property("naturalWidth", 0)


def test_a_dead_camera_says_what_and_since_when(open_page: Open) -> None:
    page = open_page()

    dead = page.locator(".camera", has_text="above")
    expect(dead.locator(".veil")).to_be_visible()
    expect(dead).to_contain_text("No picture")
    expect(dead).to_contain_text("since")
    expect(dead).to_contain_text("trying again in 4 s")
    expect(page.locator("#facts")).to_contain_text("1 of 2")


def test_a_camera_that_dies_is_seen_without_reloading(open_page: Open, shop: MemoryShop) -> None:
    shop.now = replace(shop.now, cameras=(a_camera(),))
    page = open_page()
    expect(page.locator(".veil")).to_be_hidden()

    shop.now = replace(shop.now, cameras=(a_camera(health="frozen"),))

    expect(page.locator(".veil")).to_contain_text("Picture frozen")


def test_a_review_is_settled_for_the_chosen_product_and_session(
    open_page: Open, shop: MemoryShop
) -> None:
    page = open_page()
    review = page.locator(".question")

    review.get_by_label("Oat drink barista, 1 l").check()
    review.get_by_label("s-105").check()
    review.get_by_role("button", name="Put it in the cart").click()

    expect(page.locator(".question")).to_have_count(0)
    expect(page.locator("#reviews-empty")).to_be_visible()
    assert shop.asked == [("settle", "front-9", "oat-barista", "s-105")]


def test_another_product_can_be_typed(open_page: Open, shop: MemoryShop) -> None:
    page = open_page()
    review = page.locator(".question")

    review.get_by_label("Another product").fill("apple")
    page.wait_for_selector("#products option[value=apple-bag]", state="attached")
    review.get_by_label("Another product").fill("apple-bag")
    review.get_by_label("s-104").check()
    review.get_by_role("button", name="Put it in the cart").click()

    expect(page.locator(".question")).to_have_count(0)
    assert shop.asked == [("settle", "front-9", "apple-bag", "s-104")]


def test_a_review_without_a_session_asks_for_one(open_page: Open, shop: MemoryShop) -> None:
    page = open_page()

    page.get_by_role("button", name="Put it in the cart").click()

    expect(page.locator(".question .problem")).to_have_text("Say whose cart it is.")
    assert shop.asked == []


def test_what_the_box_refuses_is_said_beside_the_button(open_page: Open, shop: MemoryShop) -> None:
    page = open_page()
    review = page.locator(".question")

    review.get_by_label("Another product").fill("no-such-thing")
    review.get_by_label("s-104").check()
    review.get_by_role("button", name="Put it in the cart").click()

    expect(review.locator(".problem")).to_contain_text("no product 'no-such-thing'")


def test_a_review_can_be_dismissed(open_page: Open, shop: MemoryShop) -> None:
    page = open_page()

    page.get_by_role("button", name="It was nothing").click()

    expect(page.locator(".question")).to_have_count(0)
    assert shop.asked == [("dismiss", "front-9")]


def test_what_a_person_is_choosing_stays_when_the_state_changes(
    open_page: Open, shop: MemoryShop
) -> None:
    page = open_page()
    page.locator(".question").get_by_label("s-105").check()
    page.locator(".question").get_by_label("Another product").fill("half a wo")

    shop.now = replace(
        shop.now,
        reviews=(a_review("front-8"), replace(a_review(), sessions=("s-104", "s-105", "s-106"))),
    )

    expect(page.locator(".question")).to_have_count(2)
    expect(page.locator(".question[open]")).to_have_count(1)
    mine = page.locator(".question[data-key=front-9]")
    expect(mine.get_by_label("s-106")).to_be_visible()
    expect(mine.get_by_label("s-105")).to_be_checked()
    expect(mine.get_by_label("Another product")).to_have_value("half a wo")


def test_a_shopper_is_let_in_and_out_from_the_page(open_page: Open, shop: MemoryShop) -> None:
    page = open_page()

    page.get_by_placeholder("session id").fill("s-300")
    page.get_by_role("button", name="Let in").click()
    expect(page.locator(".cart", has_text="s-300")).to_contain_text("nothing taken")
    page.get_by_role("button", name="Close the session s-300").click()

    expect(page.locator(".cart", has_text="s-300")).to_contain_text("left")
    assert shop.asked == [("open", "s-300"), ("close", "s-300")]


def test_the_evidence_opens_large(open_page: Open) -> None:
    page = open_page()

    page.get_by_role("button", name="Show the evidence").first.click()

    expect(page.locator("dialog")).to_contain_text("Put back: Oat drink, 1 l")
    expect(page.locator("dialog img")).to_have_count(3)
    expect(page.locator("dialog")).to_contain_text("0.340")


@pytest.mark.parametrize("width", [320, 380])
def test_a_phone_never_scrolls_sideways(open_page: Open, shop: MemoryShop, width: int) -> None:
    long = "Extraordinarilylongproductnamewithoutanyspaces" * 3
    shop.now = replace(
        shop.now,
        carts=(a_cart(lines=(view.LineView("x", long, 12, 199_000, 2_388_000),)),),
        events=(an_event(name=long, verdict="reject"), an_event("front-5")),
        warnings=("The disk is full: " + "x" * 90,),
    )
    page = open_page(width=width, height=760)

    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [340, 1280])
def test_long_names_leave_buttons_times_and_distances_on_one_line(
    open_page: Open, shop: MemoryShop, width: int
) -> None:
    session = "qr-2026-11-25T08:15:22.120Z-8f3f2a7c9b1d4e5f-anna.andersson@example.com"
    product = "Organic oat drink, barista edition with extra calcium and vitamin D, 1 l"
    shop.now = replace(
        shop.now,
        cameras=(a_camera("Kings-street.cold-drinks.camera-above-the-left-door-2", "frozen"),),
        carts=(a_cart(session),),
        reviews=(a_review(nearest=(view.CandidateView("x", product, 0.211),)),),
    )
    page = open_page(width=width, height=760)

    one_line = (".cart header button", ".cart header .quiet", ".choice .far", ".camera .words")
    for selector in one_line:
        height = page.locator(selector).first.bounding_box()["height"]  # type: ignore[index]
        assert height < 36, selector
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_tall_picture_of_many_shelves_leaves_room_for_the_others(
    open_page: Open, shop: MemoryShop
) -> None:
    zones = tuple(f"shelf-{number}" for number in range(9))
    tall = a_camera("tall", size=(1080, 1920), zones=zones)
    shop.now = replace(shop.now, cameras=(tall, a_camera("new", "starting", picture="")))
    page = open_page(width=380, height=760)

    screen = page.locator(".camera", has_text="tall").locator(".screen").bounding_box()
    assert screen is not None
    assert screen["height"] <= 0.5 * 760
    expect(page.locator(".camera", has_text="tall")).to_contain_text("shelf-2 and 6 more")
    expect(page.locator(".camera", has_text="new").locator("img")).not_to_be_visible()


def test_dark_where_the_viewer_prefers_it(open_page: Open) -> None:
    assert background(open_page(scheme="light")) > 220
    assert background(open_page(scheme="dark")) < 40


def test_a_hostile_name_is_only_text(open_page: Open, shop: MemoryShop) -> None:
    attack = "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>"
    shop.now = replace(
        shop.now,
        site=attack,
        carts=(a_cart(attack, lines=(view.LineView("x", attack, 1, 100, 100),), currency="<b>"),),
        events=(an_event(name=attack, zone=attack, session=attack, kind=attack, verdict=attack),),
        reviews=(
            replace(
                a_review(zone=attack, nearest=(view.CandidateView(attack, attack, 0.3),)),
                reason=attack,
                sessions=(attack,),
            ),
        ),
        warnings=(attack,),
    )
    page = open_page()

    expect(page.locator(".cart h3")).to_have_text(attack)
    page.get_by_role("button", name="Show the evidence").click()
    assert page.locator("script:not([src]), img[onerror], img[src=x]").count() == 0
    assert "owned" not in page.title().replace(attack, "")


def test_the_page_says_when_the_box_is_gone_and_comes_back_by_itself(
    open_page: Open, server: StatusServer, shop: MemoryShop
) -> None:
    page = open_page()

    server.stop()
    expect(page.locator("#away")).to_be_visible()
    again = StatusServer(shop, port=server.port)
    again.start()

    try:
        expect(page.locator("#away")).to_be_hidden(timeout=10_000)
    finally:
        again.stop()
