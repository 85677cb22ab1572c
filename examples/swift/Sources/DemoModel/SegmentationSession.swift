import Foundation
import Observation
import SegmentAnythingImaging

/// What an app shows and does with one picture, except for drawing it. It belongs to the main thread;
/// the model computes elsewhere.
///
/// Newer requests replace older ones: a new picture cancels the encoding of the previous one, a new
/// prompt cancels the previous prediction, and only the latest answer is shown.
@MainActor @Observable public final class SegmentationSession {
    /// The state of the picture.
    public enum Phase: Sendable, Equatable {
        /// There is no picture.
        case empty
        /// The picture is shown and is being encoded; prompts wait until it is.
        case encoding
        /// Prompts are answered immediately.
        case ready
    }

    /// The picture on screen.
    public private(set) var picture: RGBImage?
    /// The state of the picture.
    public private(set) var phase = Phase.empty
    /// What a touch means.
    public var tool = Tool.object
    /// The box that is being dragged, in pixels of the picture.
    public private(set) var draft: PixelBox?
    /// The latest answer; `nil` before the first one and while the prompt is empty.
    public private(set) var prediction: Prediction?
    /// The index of the prediction's mask that is shown.
    public private(set) var choice = 0
    /// Whether a prediction is in progress.
    public private(set) var isPredicting = false
    /// The last error in words; `nil` once something succeeds.
    public private(set) var message: String?

    private var history = History()
    @ObservationIgnored private let segmenter: any Segmenting
    @ObservationIgnored private var encoding: Task<Void, Never>?
    @ObservationIgnored private var predicting: Task<Void, Never>?

    /// A session with a model that is already loaded.
    public init(segmenter: any Segmenting) { self.segmenter = segmenter }

    /// The points and the box that describe the object.
    public var prompt: Prompt { history.current }
    /// Whether ``undo()`` does anything.
    public var canUndo: Bool { history.canUndo }
    /// Whether ``redo()`` does anything.
    public var canRedo: Bool { history.canRedo }
    /// The masks to choose from: none, one, or three readings of a single point.
    public var readings: [Mask] { prediction?.masks ?? [] }
    /// The mask that is shown.
    public var mask: Mask? { readings.indices.contains(choice) ? readings[choice] : nil }

    /// Shows a picture and encodes it. Everything about the previous one is discarded.
    public func open(_ picture: RGBImage) {
        let before = [encoding, predicting]
        for task in before { task?.cancel() }
        (self.picture, phase, history) = (picture, .encoding, History())
        (draft, prediction, choice, isPredicting, message) = (nil, nil, 0, false, nil)
        predicting = nil
        encoding = Task {
            // One after another, so that the latest picture is also the last one to be set.
            for task in before { await task?.value }
            guard !Task.isCancelled else { return }
            do {
                try await segmenter.setImage(picture)
                if !Task.isCancelled { phase = .ready }
            } catch {
                guard !Task.isCancelled else { return }
                predicting?.cancel()
                isPredicting = false
                (self.picture, phase, history) = (nil, .empty, History())
                message = Self.text(error)
            }
        }
    }

    /// A tap at a position of the view: it sets a point, unless the tool is the box.
    public func tap(at place: Viewport.Position, in viewport: Viewport) {
        guard picture != nil, tool != .box, viewport.shows(place) else { return }
        let pixel = viewport.toPicture(place)
        var prompt = prompt
        prompt.points.append(PixelPoint(x: pixel.x, y: pixel.y, isObject: tool == .object))
        ask(prompt)
    }

    /// A drag in progress: draws the box from its start to its current position.
    public func drag(
        from start: Viewport.Position, to end: Viewport.Position, in viewport: Viewport
    ) {
        guard picture != nil, tool == .box else { return }
        let (a, b) = (viewport.clamped(start), viewport.clamped(end))
        draft = PixelBox(from: PixelPoint(x: a.x, y: a.y), to: PixelPoint(x: b.x, y: b.y))
    }

    /// The end of a drag: its box replaces the previous one, unless it is empty.
    public func endDrag() {
        guard let box = draft else { return }
        draft = nil
        guard box.x1 > box.x0, box.y1 > box.y0 else { return }
        var prompt = prompt
        prompt.box = box
        ask(prompt)
    }

    /// Shows another reading.
    public func choose(_ reading: Int) {
        if readings.indices.contains(reading) { choice = reading }
    }

    /// Undoes the last point or box.
    public func undo() {
        guard canUndo else { return }
        history.undo()
        predict()
    }

    /// Restores what was undone.
    public func redo() {
        guard canRedo else { return }
        history.redo()
        predict()
    }

    /// Removes all points and the box, which can be undone.
    public func clear() {
        if !prompt.isEmpty { ask(Prompt()) }
    }

    /// Shows an error from outside the session, such as one in reading a file.
    public func report(_ error: any Error) { message = Self.text(error) }

    /// Removes the message.
    public func dismissMessage() { message = nil }

    /// The object alone; `nil` if no mask is shown or the mask is empty.
    public func cutOut() -> Layer? {
        guard let picture, let mask else { return nil }
        return Layer.cutOut(of: picture, mask: mask)
    }

    /// A description of what is shown, for people who do not see it.
    public var spoken: String {
        switch phase {
        case .empty: return "No picture"
        case .encoding: return "Picture is being prepared"
        case .ready: break
        }
        guard let mask else { return prompt.isEmpty ? "Picture, nothing selected" : "Selecting" }
        let percent = Int((100 * Double(mask.area) / Double(mask.bits.count)).rounded())
        let reading = readings.count > 1 ? ", reading \(choice + 1) of \(readings.count)" : ""
        return "Selected: \(percent) percent of the picture\(reading)"
    }

    /// Returns when nothing is being computed, for tests.
    func settle() async {
        while let task = predicting ?? encoding {
            await task.value
            if predicting == task { predicting = nil } else if encoding == task { encoding = nil }
        }
    }

    private func ask(_ prompt: Prompt) {
        history.add(prompt)
        predict()
    }

    private func predict() {
        let (asked, before, encoding) = (prompt, predicting, encoding)
        before?.cancel()
        message = nil
        guard !asked.isEmpty else {
            (prediction, choice, isPredicting) = (nil, 0, false)
            return
        }
        isPredicting = true
        predicting = Task {
            await encoding?.value
            await before?.value
            guard !Task.isCancelled else { return }
            do {
                let found = try await segmenter.predict(
                    points: asked.points, box: asked.box, maskInput: nil)
                guard !Task.isCancelled else { return }
                (prediction, choice) = (found, found.recommended)
            } catch {
                guard !Task.isCancelled else { return }
                history.drop(asked)
                message = Self.text(error)
            }
            isPredicting = false
        }
    }

    private static func text(_ error: any Error) -> String? {
        if error is CancellationError { return nil }
        let sentence = error.localizedDescription
        return sentence.prefix(1).uppercased() + sentence.dropFirst() + "."
    }
}
