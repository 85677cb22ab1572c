import DemoViews
import SwiftUI

#if os(macOS)
    import AppKit
#endif

@main struct DemoApp: App {
    init() {
        #if os(macOS)
            // Otherwise a program without a bundle has no menus and no window in front.
            NSApplication.shared.setActivationPolicy(.regular)
            NSApplication.shared.activate()
        #endif
    }

    var body: some Scene { DemoScene() }
}
