import Foundation
import SegmentAnything

#if canImport(Glibc)
    import Glibc
#endif

let usage = """
    usage: segment EXPORT PICTURE [--point X Y]... [--not-point X Y]... [--box X0 Y0 X1 Y1]
                   [-o MASK.png] [--bench]

    EXPORT is the folder that sam-mlx export wrote. PICTURE is any format that the system reads on
    Apple's systems, and a binary PPM (P6) elsewhere. Coordinates are in pixels of the picture. The
    mask is written as a gray PNG of the picture's size, with 255 on the object. --bench prints median
    times and the peak memory.
    """

struct Arguments {
    var paths: [String] = []
    var points: [PixelPoint] = []
    var box: PixelBox?
    var output: String?
    var bench = false

    init(_ arguments: [String]) throws {
        var rest = arguments[...]
        func numbers(_ count: Int, of flag: String) throws -> [Double] {
            let values = rest.prefix(count).compactMap(Double.init)
            guard values.count == count else { throw Misuse("\(flag) takes \(count) numbers") }
            rest = rest.dropFirst(count)
            return values
        }
        while let word = rest.popFirst() {
            switch word {
            case "--point", "--not-point":
                let at = try numbers(2, of: word)
                points.append(PixelPoint(x: at[0], y: at[1], isObject: word == "--point"))
            case "--box":
                let at = try numbers(4, of: word)
                box = PixelBox(x0: at[0], y0: at[1], x1: at[2], y1: at[3])
            case "-o":
                guard let path = rest.popFirst() else { throw Misuse("-o takes a path") }
                output = path
            case "--bench": bench = true
            case let flag where flag.hasPrefix("-"): throw Misuse("there is no flag \(flag)")
            default: paths.append(word)
            }
        }
        guard paths.count == 2 else { throw Misuse("expected EXPORT and PICTURE") }
        guard !points.isEmpty || box != nil else { throw Misuse("give --point or --box") }
    }
}

struct Misuse: Error, CustomStringConvertible {
    let description: String

    init(_ reason: String) {
        description = "\(reason)\n\n\(usage)"
    }
}

func picture(_ path: String) throws -> RGBImage {
    let url = URL(fileURLWithPath: path)
    #if canImport(ImageIO)
        return try RGBImage(contentsOf: url)
    #else
        return try RGBImage(ppmFile: url)
    #endif
}

/// The median time of several runs, in milliseconds, after a first one that does not count.
func median(_ runs: Int, _ work: () async throws -> Void) async throws -> Double {
    try await work()
    var times: [Double] = []
    for _ in 0..<runs {
        let start = ContinuousClock.now
        try await work()
        times.append((ContinuousClock.now - start) / .milliseconds(1))
    }
    return times.sorted()[runs / 2]
}

/// The peak memory of the process, in MB.
func peakMemory() -> Double {
    var usage = rusage()
    #if canImport(Darwin)
        getrusage(RUSAGE_SELF, &usage)
        return Double(usage.ru_maxrss) / 1e6  // in bytes
    #else
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return Double(usage.ru_maxrss) / 1e3  // in KB
    #endif
}

func run() async throws {
    let arguments = try Arguments(Array(CommandLine.arguments.dropFirst()))
    let segmenter = try Segmenter(folder: URL(fileURLWithPath: arguments.paths[0]))
    let image = try picture(arguments.paths[1])
    try await segmenter.setImage(image)
    let found = try await segmenter.predict(points: arguments.points, box: arguments.box)
    for (i, mask) in found.masks.enumerated() {
        let mark = i == found.recommended ? " (recommended: \(found.reason))" : ""
        print("score \(mask.score) stability \(mask.stability) area \(mask.area)\(mark)")
    }
    if let output = arguments.output {
        let url = URL(fileURLWithPath: output)
        do {
            try PNG.data(found.masks[found.recommended]).write(to: url, options: .atomic)
        } catch {
            throw SegmentationError.fileUnwritable(output, reason: error.localizedDescription)
        }
    }
    if arguments.bench {
        let encode = try await median(5) { try await segmenter.setImage(image) }
        let prompt = try await median(20) {
            _ = try await segmenter.predict(points: arguments.points, box: arguments.box)
        }
        let (device, type) = (Segmenter.deviceKind, segmenter.description.dtype)
        print("encode \(Int(encode)) ms, prompt \(Int(prompt)) ms, ", terminator: "")
        print("peak memory \(Int(peakMemory())) MB; \(device), \(type)")
    }
}

do {
    try await run()
} catch {
    FileHandle.standardError.write(Data("segment: \(error)\n".utf8))
    exit(error is Misuse ? 64 : 1)
}
