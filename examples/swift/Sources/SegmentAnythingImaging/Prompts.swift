/// A point that says where the object is, or where it is not.
///
/// Any thread may use it.
public struct PixelPoint: Sendable, Equatable, Codable {
    /// Pixels from the left edge of the original picture; may be outside it.
    public var x: Double
    /// Pixels from the upper edge of the original picture; may be outside it.
    public var y: Double
    /// `true` on the object, `false` on what does not belong to it.
    public var isObject: Bool

    /// A point at `x`, `y`, in pixels of the original picture.
    public init(x: Double, y: Double, isObject: Bool = true) {
        (self.x, self.y, self.isObject) = (x, y, isObject)
    }

    /// Throws ``SegmentationError/pointOutOfRange(_:)`` for coordinates that the model cannot take.
    public func check() throws {
        guard Float(x).isFinite, Float(y).isFinite else {
            throw SegmentationError.pointOutOfRange(self)
        }
    }
}

/// A box around the object, in pixels of the original picture, including its corners.
///
/// Any thread may use it.
public struct PixelBox: Sendable, Equatable, Codable {
    /// The left edge.
    public var x0: Double
    /// The upper edge.
    public var y0: Double
    /// The right edge, not left of `x0`.
    public var x1: Double
    /// The lower edge, not above `y0`.
    public var y1: Double

    /// A box with its upper left corner at `x0`, `y0` and its lower right corner at `x1`, `y1`.
    public init(x0: Double, y0: Double, x1: Double, y1: Double) {
        (self.x0, self.y0, self.x1, self.y1) = (x0, y0, x1, y1)
    }

    /// The box between two opposite corners in any order, such as the ends of a drag.
    public init(from a: PixelPoint, to b: PixelPoint) {
        self.init(x0: min(a.x, b.x), y0: min(a.y, b.y), x1: max(a.x, b.x), y1: max(a.y, b.y))
    }

    /// Throws ``SegmentationError/boxOutOfRange(_:)`` if the corners are in the wrong order or the
    /// model cannot take their coordinates.
    public func check() throws {
        let isFinite = [x0, y0, x1, y1].allSatisfy { Float($0).isFinite }
        guard isFinite, x0 <= x1, y0 <= y1 else { throw SegmentationError.boxOutOfRange(self) }
    }

    /// The intersection of two boxes; `nil` if they are disjoint.
    public func intersection(_ other: PixelBox) -> PixelBox? {
        let common = PixelBox(
            x0: max(x0, other.x0), y0: max(y0, other.y0),
            x1: min(x1, other.x1), y1: min(y1, other.y1))
        return common.x0 <= common.x1 && common.y0 <= common.y1 ? common : nil
    }
}
