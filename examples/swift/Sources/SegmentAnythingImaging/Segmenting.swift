/// What finds objects in a picture. The app's view model is written against this, so that it can
/// be tested without a model.
///
/// Any thread may call; an implementation answers one call after the other.
public protocol Segmenting: Sendable {
    /// Encodes a picture; prompts are about it from then on.
    ///
    /// Throws a ``SegmentationError``, or `CancellationError` when the calling task was cancelled;
    /// the previous picture then stays.
    func setImage(_ image: RGBImage) async throws

    /// Masks for one prompt on the picture. `points` and `box` are in pixels of the original
    /// picture, `maskInput` is the ``Mask/lowResolution`` of an earlier mask.
    ///
    /// Throws a ``SegmentationError``, or `CancellationError`.
    func predict(points: [PixelPoint], box: PixelBox?, maskInput: [Float]?) async throws
        -> Prediction
}

/// The masks for one prompt. Any thread may use it.
public struct Prediction: Sendable, Equatable {
    /// Why a mask is recommended.
    public enum Reason: String, Sendable, Codable {
        /// Several points, a box or an earlier mask say which object is meant: there is one mask,
        /// the model's mask 0.
        case clearPrompt
        /// One point may mean a part or the whole: there are readings, the model's masks 1 to 3,
        /// and the one with the best score is recommended.
        case bestReading

        /// Which of the two a prompt is.
        public init(points: [PixelPoint], box: PixelBox?, maskInput: [Float]?) {
            let isClear = points.count > 1 || box != nil || maskInput != nil
            self = isClear ? .clearPrompt : .bestReading
        }
    }

    /// One mask for a clear prompt, three readings of an ambiguous one.
    public var masks: [Mask]
    /// Which of `masks` to show first.
    public var recommended: Int
    /// Why that one.
    public var reason: Reason

    /// Recommends the mask with the best score, the first of equal ones. `masks` is not empty.
    public init(masks: [Mask], reason: Reason) {
        precondition(!masks.isEmpty, "a prediction has one mask or more")
        let best = masks.indices.reduce(0) { masks[$1].score > masks[$0].score ? $1 : $0 }
        (self.masks, self.reason, recommended) = (masks, reason, best)
    }
}
