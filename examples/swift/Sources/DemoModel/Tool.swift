/// What a touch on the picture means.
public enum Tool: String, CaseIterable, Sendable {
    /// A tap sets a point on the object.
    case object
    /// A tap sets a point on something that does not belong to the object.
    case beside
    /// A drag draws a box around the object.
    case box
}
