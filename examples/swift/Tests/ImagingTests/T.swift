import Testing
@testable import SegmentAnythingImaging
@Test func placeholder() {}
