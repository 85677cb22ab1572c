import DemoViews
import SwiftUI

@main struct SegmentDemoApp: App {
    var body: some Scene { DemoScene() }
}
