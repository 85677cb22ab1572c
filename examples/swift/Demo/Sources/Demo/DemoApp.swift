import DemoViews
import SwiftUI

#if os(macOS)
    import AppKit
#endif

@main struct DemoApp: App {
    init() {
        #if os(macOS)
            // A program without a bundle is else one without windows in front and menus.
            NSApplication.shared.setActivationPolicy(.regular)
            NSApplication.shared.activate()
        #endif
    }

    var body: some Scene { DemoScene() }
}
