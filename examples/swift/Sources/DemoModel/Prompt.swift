import SegmentAnythingImaging

/// What has been said about the object so far. Any thread may use it.
public struct Prompt: Sendable, Equatable {
    /// In pixels of the picture, in the order they were set.
    public var points: [PixelPoint] = []
    /// In pixels of the picture.
    public var box: PixelBox?

    /// Nothing said yet.
    public init() {}

    /// Whether nothing has been said.
    public var isEmpty: Bool { points.isEmpty && box == nil }
}

/// The prompts of one picture in the order they came, for undo and redo.
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

    /// Takes a prompt out that nothing could be found for, where it is still the current one.
    mutating func drop(_ prompt: Prompt) {
        guard canUndo, prompt == current else { return }
        prompts.remove(at: place)
        place -= 1
    }
}
