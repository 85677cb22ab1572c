/// Something that finds objects in a picture. The app's view model uses this protocol, so that it can
/// be tested without a model.
///
/// Any thread may call it; an implementation answers one call after another.
public protocol Segmenting: Sendable {
    /// Encodes a picture, to which prompts refer from then on.
    ///
    /// Throws a ``SegmentationError``, or `CancellationError` if the calling task was cancelled; the
    /// previous picture is then kept.
    func setImage(_ image: RGBImage) async throws

    /// The masks for one prompt on the picture. `points` and `box` are in pixels of the original
    /// picture, and `maskInput` is the ``Mask/lowResolution`` of an earlier mask.
    ///
    /// Throws a ``SegmentationError``, or `CancellationError`.
    func predict(points: [PixelPoint], box: PixelBox?, maskInput: [Float]?) async throws
        -> Prediction
}

/// The masks for one prompt. Any thread may use it.
public struct Prediction: Sendable, Equatable {
    /// Why a mask is recommended.
    public enum Reason: String, Sendable, Codable {
        /// Several points, a box or an earlier mask make clear which object is meant. There is one
        /// mask, the model's mask 0.
        case clearPrompt
        /// One point may mean a part or the whole. There are three readings of it, the model's masks
        /// 1 to 3, and the one with the best score is recommended.
        case bestReading

        /// The reason that applies to a prompt.
        public init(points: [PixelPoint], box: PixelBox?, maskInput: [Float]?) {
            let isClear = points.count > 1 || box != nil || maskInput != nil
            self = isClear ? .clearPrompt : .bestReading
        }
    }

    /// One mask for a clear prompt, or three readings of an ambiguous one.
    public var masks: [Mask]
    /// The index in `masks` of the one to show first.
    public var recommended: Int
    /// Why that one is recommended.
    public var reason: Reason

    /// Recommends the mask with the best score, or the first of equal ones. `masks` is not empty.
    public init(masks: [Mask], reason: Reason) {
        precondition(!masks.isEmpty, "a prediction has one mask or more")
        let best = masks.indices.reduce(0) { masks[$1].score > masks[$0].score ? $1 : $0 }
        (self.masks, self.reason, recommended) = (masks, reason, best)
    }
}
