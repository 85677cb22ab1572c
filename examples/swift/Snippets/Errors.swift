// Errors are values. Always compiled.
import Foundation
import SegmentAnythingImaging

func slots(ofModelIn folder: URL) throws -> Int? {
    do {
        return try ExportDescription(folder: folder).points.last
    } catch let error as SegmentationError {
        print(error)  // what was found, the rule, and the next step
        return nil
    }
}
