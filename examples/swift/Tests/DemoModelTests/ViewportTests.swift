import DemoModel
import Foundation
import SegmentAnythingImaging
import Testing

@Suite struct ViewportTests {
    private func near(_ a: Viewport.Position, _ x: Double, _ y: Double) -> Bool {
        abs(a.x - x) < 1e-9 && abs(a.y - y) < 1e-9
    }

    @Test func pictureIsCentred() {
        let wide = Viewport(
            pictureWidth: 200, pictureHeight: 100, viewWidth: 100, viewHeight: 150)
        #expect(wide.scale == 0.5 && near(wide.origin, 0, 50))
        #expect(near(wide.toPicture(.init(x: 50, y: 75)), 100, 50))
        #expect(near(wide.toView(x: 200, y: 100), 100, 100))
        #expect(wide.shows(.init(x: 0, y: 50)) && !wide.shows(.init(x: 0, y: 49)))
        #expect(!wide.shows(.init(x: 0, y: 100)))
        let high = Viewport(pictureWidth: 1, pictureHeight: 4, viewWidth: 8, viewHeight: 8)
        #expect(high.scale == 2 && near(high.origin, 3, 0))
    }

    @Test func zoomKeepsWhatIsTouched() {
        var viewport = Viewport(
            pictureWidth: 300, pictureHeight: 200, viewWidth: 300, viewHeight: 200)
        let place = Viewport.Position(x: 60, y: 150)
        viewport.zoom(by: 3, around: place)
        #expect(viewport.zoom == 3 && near(viewport.toPicture(place), 60, 150))
        viewport.zoom(by: 100, around: place)
        #expect(viewport.zoom == 16)
        viewport.zoom(by: .nan, around: place)
        viewport.zoom(by: 0, around: place)
        #expect(viewport.zoom == 16)
        viewport.zoom(by: 1e-9, around: place)
        #expect(viewport.zoom == 1 && near(viewport.origin, 0, 0))
    }

    @Test func pictureCannotLeave() {
        var viewport = Viewport(
            pictureWidth: 100, pictureHeight: 100, viewWidth: 100, viewHeight: 200)
        viewport.move(by: .init(x: 50, y: 50))
        #expect(near(viewport.origin, 0, 50))
        viewport.zoom(by: 4, around: .init(x: 50, y: 100))
        viewport.move(by: .init(x: 1e9, y: -1e9))
        #expect(near(viewport.origin, 0, -200))
    }

    @Test func placesGoBothWays() {
        var viewport = Viewport(
            pictureWidth: 640, pictureHeight: 427, viewWidth: 390, viewHeight: 844)
        viewport.zoom(by: 2.7, around: .init(x: 100, y: 400))
        viewport.move(by: .init(x: -33, y: 12))
        for (x, y) in [(0.0, 0.0), (320.5, 17.25), (639.9, 426.9)] {
            #expect(near(viewport.toPicture(viewport.toView(x: x, y: y)), x, y))
        }
    }
}

@Suite struct LayerTests {
    @Test func lightIsMultipliedByAlpha() {
        let mask = Mask(bits: [true, false], width: 2, height: 1, score: 1)
        let light = Layer.light(mask, colour: [255, 100, 0])
        #expect(light.rgba == [128, 50, 0, 128, 0, 0, 0, 0])
        // The PNG's row after its filter byte, as exact as 8 bits of alpha allow.
        let row = light.png.range(of: Data([0, 255, 100, 0, 128, 0, 0, 0, 0]))
        #expect(row != nil)
    }

    @Test func nothingOfThePictureIsLeftBesideTheObject() throws {
        let picture = try RGBImage(bytes: (1...18).map { $0 }, width: 3, height: 2)
        let bits = [false, true, false, false, false, true]
        let mask = Mask(bits: bits, width: 3, height: 2, score: 1)
        let layer = try #require(Layer.cutOut(of: picture, mask: mask))
        #expect(layer.rgba == [4, 5, 6, 255, 0, 0, 0, 0, 0, 0, 0, 0, 16, 17, 18, 255])
        #expect(layer.width == 2 && layer.height == 2)
        let empty = Mask(bits: .init(repeating: false, count: 6), width: 3, height: 2, score: 1)
        #expect(Layer.cutOut(of: picture, mask: empty) == nil)
    }
}
