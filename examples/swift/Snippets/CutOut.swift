// The object alone, as a picture with alpha. Always compiled.
import DemoModel
import Foundation
import SegmentAnythingImaging

func save(_ mask: Mask, of picture: RGBImage, as file: URL) throws {
    try Layer.cutOut(of: picture, mask: mask)?.png.write(to: file)
    try JSONEncoder().encode(RunLengths(mask)).write(to: file.appendingPathExtension("json"))
}
