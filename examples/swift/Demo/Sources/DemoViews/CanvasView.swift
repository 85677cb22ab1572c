import DemoModel
import SegmentAnythingImaging
import SwiftUI

/// The picture with its mask, points and box, which takes taps, drags and pinches.
struct CanvasView: View {
    let session: SegmentationSession
    let picture: RGBImage
    @State private var viewport: Viewport?
    @State private var image: CGImage?
    @State private var light: CGImage?
    @State private var lastZoom = 1.0
    @State private var lastMove = CGSize.zero

    var body: some View {
        GeometryReader { geometry in
            Canvas { context, _ in draw(in: &context) }
                .gesture(drag)
                .simultaneousGesture(magnify)
                .simultaneousGesture(
                    SpatialTapGesture().onEnded { tap in
                        if let viewport { session.tap(at: position(tap.location), in: viewport) }
                    }
                )
                .onChange(of: geometry.size, initial: true) { _, size in fit(size) }
                .onChange(of: picture, initial: true) { _, picture in
                    image = Pictures.image(picture)
                    fit(geometry.size)
                }
                .onChange(of: session.mask, initial: true) { _, mask in
                    light = mask.flatMap { Pictures.image(Layer.light($0)) }
                }
        }
        .accessibilityElement()
        .accessibilityLabel(session.spoken)
        .accessibilityAddTraits([.isImage, .updatesFrequently])
        // For people who do not see where to tap.
        .accessibilityAction(named: "Select what is in the middle") { tapMiddle() }
    }

    private func fit(_ size: CGSize) {
        viewport = Viewport(
            pictureWidth: picture.width, pictureHeight: picture.height,
            viewWidth: size.width, viewHeight: size.height)
    }

    private func tapMiddle() {
        guard let viewport else { return }
        let middle = viewport.toView(
            x: Double(picture.width) / 2, y: Double(picture.height) / 2)
        session.tap(at: middle, in: viewport)
    }

    /// Draws a box with the tool for boxes, and moves the picture with the others.
    private var drag: some Gesture {
        DragGesture(minimumDistance: 8)
            .onChanged { drag in
                if session.tool == .box, let viewport {
                    session.drag(
                        from: position(drag.startLocation), to: position(drag.location),
                        in: viewport)
                } else {
                    let step = CGSize(
                        width: drag.translation.width - lastMove.width,
                        height: drag.translation.height - lastMove.height)
                    viewport?.move(by: .init(x: step.width, y: step.height))
                    lastMove = drag.translation
                }
            }
            .onEnded { _ in
                session.endDrag()
                lastMove = .zero
            }
    }

    private var magnify: some Gesture {
        MagnifyGesture()
            .onChanged { pinch in
                let factor = pinch.magnification / lastZoom
                viewport?.zoom(by: factor, around: position(pinch.startLocation))
                lastZoom = pinch.magnification
            }
            .onEnded { _ in lastZoom = 1 }
    }

    private func position(_ point: CGPoint) -> Viewport.Position { .init(x: point.x, y: point.y) }

    private func draw(in context: inout GraphicsContext) {
        guard let viewport, let image else { return }
        let frame = rectangle(
            PixelBox(
                x0: 0, y0: 0, x1: Double(picture.width), y1: Double(picture.height)), viewport)
        context.draw(Image(decorative: image, scale: 1), in: frame)
        if let light { context.draw(Image(decorative: light, scale: 1), in: frame) }
        if let box = session.draft ?? session.prompt.box {
            context.stroke(Path(rectangle(box, viewport)), with: .color(.white), lineWidth: 3)
            context.stroke(Path(rectangle(box, viewport)), with: .color(.blue), lineWidth: 1.5)
        }
        for point in session.prompt.points {
            let place = viewport.toView(x: point.x, y: point.y)
            // Distinguished by shape as well as by colour.
            let name = point.isObject ? "plus.circle.fill" : "minus.circle.fill"
            let symbol = context.resolve(Image(systemName: name))
            var coloured = symbol
            coloured.shading = .color(point.isObject ? .green : .red)
            context.draw(coloured, at: CGPoint(x: place.x, y: place.y))
        }
    }

    private func rectangle(_ box: PixelBox, _ viewport: Viewport) -> CGRect {
        let (a, b) = (viewport.toView(x: box.x0, y: box.y0), viewport.toView(x: box.x1, y: box.y1))
        return CGRect(x: a.x, y: a.y, width: b.x - a.x, height: b.y - a.y)
    }
}
