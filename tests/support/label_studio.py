"""Label Studio's editor in headless Chromium."""

SIZE = {"width": 1280, "height": 960}  # so that a whole picture is shown


class Editor:
    """What a person does in it. chromium: playwright's browser."""

    def __init__(self, chromium, address: str):
        self.page = chromium.new_context(viewport=SIZE, reduced_motion="reduce").new_page()
        self.page.set_default_timeout(120_000)
        self.address = address

    def log_in(self, name: str, password: str):
        self.page.goto(f"{self.address}/user/login/")
        self.page.fill("input[name=email]", name)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda url: "login" not in url)

    def open(self, path: str):
        self.page.goto(f"{self.address}{path}")
        self.page.wait_for_selector(".konvajs-content canvas")

    def click(self, x: float, y: float, label: str) -> dict:
        """A smart key point at a share of a square picture's sides, its suggestion accepted: what
        the editor sent for it.
        """
        page = self.page
        page.get_by_test_id("bottombar-auto-annotation-toggle").check(force=True)
        page.get_by_test_id("bottombar-auto-accept-toggle").check(force=True)
        page.locator(".lsf-label", has_text=label).last.click()
        page.locator("button.lsf-tool_smart").first.click()
        box = page.locator(".konvajs-content canvas").first.bounding_box()
        side = min(box["width"], box["height"])
        with page.expect_response("**/interactive-annotating*") as found:
            page.mouse.click(box["x"] + x * side, box["y"] + y * side)
        assert found.value.ok, found.value.text()
        page.wait_for_selector(".lsf-outliner-item")
        page.mouse.move(5, 5)  # off the tools, whose names would be shown
        return found.value.request.post_data_json

    def keep(self, path):
        self.page.screenshot(path=path)

    def submit(self):
        with self.page.expect_response("**/annotations*"):
            self.page.get_by_test_id("bottombar-submit-button").click()
