import Testing
@testable import DemoModel
@Test func placeholder() {}
