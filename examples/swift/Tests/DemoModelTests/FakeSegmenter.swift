import SegmentAnythingImaging

/// Answers like a model, and records what it was asked. Calls wait while it is held.
actor FakeSegmenter: Segmenting {
    private(set) var pictures: [RGBImage] = []
    private(set) var prompts: [(points: [PixelPoint], box: PixelBox?)] = []
    private var isHeld = false
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private var fault: (any Error & Sendable)?

    func hold() { isHeld = true }

    func release() {
        isHeld = false
        for call in waiting { call.resume() }
        waiting = []
    }

    func fail(_ error: (any Error & Sendable)?) { fault = error }

    /// Returns when a call is waiting for ``release()``.
    func isWaitedFor() async { while waiting.isEmpty { await Task.yield() } }

    private func answer() async throws {
        if isHeld { await withCheckedContinuation { waiting.append($0) } }
        if let fault { throw fault }
    }

    func setImage(_ image: RGBImage) async throws {
        pictures.append(image)
        try await answer()
    }

    /// A mask with as many pixels as there are points, or readings with 1 to 3 pixels.
    func predict(points: [PixelPoint], box: PixelBox?, maskInput: [Float]?) async throws
        -> Prediction
    {
        prompts.append((points, box))
        try await answer()
        let picture = pictures.last!
        let reason = Prediction.Reason(points: points, box: box, maskInput: maskInput)
        let areas = reason == .clearPrompt ? [points.count] : [1, 2, 3]
        let masks = areas.map { area in
            let bits = (0..<picture.width * picture.height).map { $0 < area }
            let score: Float = area == 2 ? 0.9 : 0.5
            return Mask(bits: bits, width: picture.width, height: picture.height, score: score)
        }
        return Prediction(masks: masks, reason: reason)
    }
}
