import Foundation
import SegmentAnythingImaging
import Testing

@testable import DemoModel

@MainActor @Suite struct SessionTests {
    let segmenter = FakeSegmenter()
    let session: SegmentationSession
    let viewport = Viewport(pictureWidth: 4, pictureHeight: 2, viewWidth: 400, viewHeight: 200)

    init() { session = SegmentationSession(segmenter: segmenter) }

    private func picture(_ value: UInt8 = 7) throws -> RGBImage {
        try RGBImage(bytes: .init(repeating: value, count: 24), width: 4, height: 2)
    }

    private func tap(_ x: Double, _ y: Double) {
        session.tap(at: .init(x: x, y: y), in: viewport)
    }

    private func opened() async throws {
        session.open(try picture())
        await session.settle()
    }

    @Test func pictureIsEncoded() async throws {
        #expect(session.phase == .empty && session.spoken == "No picture")
        await segmenter.hold()
        session.open(try picture())
        await segmenter.isWaitedFor()
        #expect(session.phase == .encoding && session.picture != nil)
        await segmenter.release()
        await session.settle()
        #expect(session.phase == .ready && session.message == nil)
        #expect(session.spoken == "Picture, nothing selected")
    }

    @Test func nothingHappensWithoutPicture() async {
        tap(50, 50)
        session.tool = .box
        session.drag(from: .init(x: 0, y: 0), to: .init(x: 9, y: 9), in: viewport)
        session.endDrag()
        session.undo()
        session.redo()
        session.clear()
        await session.settle()
        #expect(session.prompt.isEmpty && session.cutOut() == nil)
        #expect(await segmenter.prompts.isEmpty)
    }

    @Test func aTapHasThreeReadings() async throws {
        try await opened()
        tap(50, 150)
        #expect(session.isPredicting)
        await session.settle()
        #expect(session.prompt.points == [PixelPoint(x: 0.5, y: 1.5)])
        #expect(session.readings.count == 3 && session.choice == 1 && !session.isPredicting)
        #expect(session.spoken == "Selected: 25 percent of the picture, reading 2 of 3")
        session.choose(2)
        #expect(session.mask?.area == 3)
        session.choose(3)
        #expect(session.choice == 2)
    }

    @Test func pointsAndBoxAreOneMask() async throws {
        try await opened()
        tap(50, 50)
        session.tool = .beside
        tap(350, 50)
        tap(350, 250)  // below the picture
        await session.settle()
        #expect(session.prompt.points.map(\.isObject) == [true, false])
        #expect(session.readings.count == 1 && session.mask?.area == 2)
        session.tool = .box
        tap(50, 50)
        session.drag(from: .init(x: 500, y: 150), to: .init(x: 100, y: -20), in: viewport)
        #expect(session.draft == PixelBox(x0: 1, y0: 0, x1: 4, y1: 1.5))
        session.endDrag()
        await session.settle()
        #expect(session.draft == nil)
        #expect(await segmenter.prompts.last?.box == PixelBox(x0: 1, y0: 0, x1: 4, y1: 1.5))
        session.drag(from: .init(x: 9, y: 9), to: .init(x: 9, y: 50), in: viewport)
        session.endDrag()
        #expect(session.prompt.box?.x0 == 1)
    }

    @Test func undoAndRedo() async throws {
        try await opened()
        tap(50, 50)
        tap(150, 50)
        await session.settle()
        session.undo()
        await session.settle()
        #expect(session.prompt.points.count == 1 && session.readings.count == 3)
        session.redo()
        await session.settle()
        #expect(session.prompt.points.count == 2 && !session.canRedo)
        session.clear()
        #expect(session.prediction == nil && session.canUndo)
        session.undo()
        session.undo()
        tap(250, 50)
        await session.settle()
        #expect(session.prompt.points.map(\.x) == [0.5, 2.5] && !session.canRedo)
        session.undo()
        session.undo()
        await session.settle()
        #expect(session.prediction == nil && !session.canUndo && session.canRedo)
    }

    @Test func theLatestPictureWins() async throws {
        await segmenter.hold()
        session.open(try picture(1))
        await segmenter.isWaitedFor()
        tap(50, 50)  // on a picture that is replaced before the answer
        for value in 2...9 { session.open(try picture(UInt8(value))) }
        await segmenter.release()
        await session.settle()
        // The pictures in between are never encoded.
        #expect(await segmenter.pictures.map { $0.bytes[0] } == [1, 9])
        #expect(session.phase == .ready && session.picture?.bytes[0] == 9)
        #expect(await segmenter.prompts.isEmpty)
        #expect(session.prompt.isEmpty && !session.isPredicting)
    }

    @Test func theLatestPromptWins() async throws {
        try await opened()
        await segmenter.hold()
        tap(50, 50)
        await segmenter.isWaitedFor()
        for x in [150.0, 250, 350] { tap(x, 50) }
        await segmenter.release()
        await session.settle()
        #expect(await segmenter.prompts.map(\.points.count) == [1, 4])
        #expect(session.mask?.area == 4 && !session.isPredicting)
    }

    @Test func aTapDuringEncodingIsAnsweredAfterIt() async throws {
        await segmenter.hold()
        session.open(try picture())
        await segmenter.isWaitedFor()
        tap(50, 50)
        #expect(session.isPredicting && session.phase == .encoding)
        await segmenter.release()
        await session.settle()
        #expect(session.readings.count == 3)
    }

    @Test func errorsAreSentences() async throws {
        await segmenter.fail(SegmentationError.pictureSize(width: 0, height: 0))
        session.open(try picture())
        tap(50, 50)
        await session.settle()
        #expect(session.phase == .empty && session.picture == nil && !session.isPredicting)
        #expect(session.message?.hasPrefix("A picture of 0 by 0 pixels") == true)

        await segmenter.fail(nil)
        try await opened()
        #expect(session.message == nil)
        tap(50, 50)
        await session.settle()
        await segmenter.fail(SegmentationError.tooManyPoints(5, slots: 4))
        tap(150, 50)
        await session.settle()
        // The previous masks are kept, and so is their prompt.
        #expect(session.message?.hasPrefix("The prompt takes 5 points") == true)
        #expect(session.prompt.points.count == 1 && session.readings.count == 3)
        session.dismissMessage()
        session.report(CancellationError())
        #expect(session.message == nil)
    }

    @Test func cutOutIsTheObjectAlone() async throws {
        try await opened()
        tap(50, 50)
        await session.settle()
        let layer = try #require(session.cutOut())
        #expect(layer.width == 2 && layer.height == 1)
        #expect(layer.rgba == [7, 7, 7, 255, 7, 7, 7, 255])
    }
}
