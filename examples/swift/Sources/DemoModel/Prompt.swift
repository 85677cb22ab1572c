import SegmentAnythingImaging

/// The points and the box that describe an object so far. Any thread may use it.
public struct Prompt: Sendable, Equatable {
    /// The points in pixels of the picture, in the order in which they were set.
    public var points: [PixelPoint] = []
    /// The box in pixels of the picture.
    public var box: PixelBox?

    /// A prompt without points and box.
    public init() {}

    /// Whether there are neither points nor a box.
    public var isEmpty: Bool { points.isEmpty && box == nil }
}

/// The prompts of one picture in chronological order, for undo and redo.
struct History {
    private var prompts = [Prompt()]
    private var place = 0

    var current: Prompt { prompts[place] }
    var canUndo: Bool { place > 0 }
    var canRedo: Bool { place + 1 < prompts.count }

    mutating func add(_ prompt: Prompt) {
        prompts.removeSubrange((place + 1)...)
        prompts.append(prompt)
        place += 1
    }

    mutating func undo() { place = max(place - 1, 0) }
    mutating func redo() { place = min(place + 1, prompts.count - 1) }

    /// Removes a prompt that could not be answered, if it is still the current one.
    mutating func drop(_ prompt: Prompt) {
        guard canUndo, prompt == current else { return }
        prompts.remove(at: place)
        place -= 1
    }
}
