import SegmentAnythingImaging

/// Where a picture is in a view: as large as fits, centred, then zoomed and moved. Positions are in
/// points in views and in pixels in pictures, both from the upper left. Any thread may use it.
public struct Viewport: Sendable, Equatable {
    /// A position in the view, or a distance, in points.
    public struct Position: Sendable, Equatable {
        /// To the right.
        public var x: Double
        /// Downwards.
        public var y: Double

        /// A position or distance in points.
        public init(x: Double, y: Double) { (self.x, self.y) = (x, y) }
    }

    private let picture: Position
    private let view: Position
    /// From 1, which shows the whole picture, to 16.
    public private(set) var zoom = 1.0
    private var offset = Position(x: 0, y: 0)

    /// A picture of `pictureWidth` by `pictureHeight` pixels in a view of `viewWidth` by
    /// `viewHeight` points.
    public init(pictureWidth: Int, pictureHeight: Int, viewWidth: Double, viewHeight: Double) {
        picture = Position(x: Double(max(pictureWidth, 1)), y: Double(max(pictureHeight, 1)))
        view = Position(x: max(viewWidth, 1), y: max(viewHeight, 1))
    }

    /// The size of a pixel of the picture, in points.
    public var scale: Double { min(view.x / picture.x, view.y / picture.y) * zoom }

    /// The picture's upper left corner in the view.
    public var origin: Position {
        Position(
            x: (view.x - picture.x * scale) / 2 + offset.x,
            y: (view.y - picture.y * scale) / 2 + offset.y)
    }

    /// The pixel coordinates at a position of the view, which may be outside the picture.
    public func toPicture(_ place: Position) -> Position {
        Position(x: (place.x - origin.x) / scale, y: (place.y - origin.y) / scale)
    }

    /// The position in the view of pixel coordinates of the picture.
    public func toView(x: Double, y: Double) -> Position {
        Position(x: origin.x + x * scale, y: origin.y + y * scale)
    }

    /// Whether the picture is at a position of the view.
    public func shows(_ place: Position) -> Bool {
        let pixel = toPicture(place)
        return pixel.x >= 0 && pixel.y >= 0 && pixel.x < picture.x && pixel.y < picture.y
    }

    /// The nearest pixel coordinates inside the picture.
    func clamped(_ place: Position) -> Position {
        let pixel = toPicture(place)
        return Position(
            x: min(max(pixel.x, 0), picture.x), y: min(max(pixel.y, 0), picture.y))
    }

    /// Zooms by a factor, and keeps what the view shows at `place` where it is.
    public mutating func zoom(by factor: Double, around place: Position) {
        guard factor.isFinite, factor > 0 else { return }
        let pixel = toPicture(place)
        zoom = min(max(zoom * factor, 1), 16)
        let moved = toView(x: pixel.x, y: pixel.y)
        move(by: Position(x: place.x - moved.x, y: place.y - moved.y))
    }

    /// Moves the picture by a distance, but not beyond its edges.
    public mutating func move(by distance: Position) {
        let free = Position(
            x: max(picture.x * scale - view.x, 0) / 2, y: max(picture.y * scale - view.y, 0) / 2)
        offset.x = min(max(offset.x + distance.x, -free.x), free.x)
        offset.y = min(max(offset.y + distance.y, -free.y), free.y)
    }
}
