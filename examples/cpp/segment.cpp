// Segments one object of an image with the files that `sam-mlx export` writes; no Python.
//
//   segment EXPORT IMAGE.ppm MASK.pgm [--box X0 Y0 X1 Y1] [X Y LABEL]...
//
// EXPORT is the exported folder, and IMAGE a binary PPM (P6) of 8 bits and any size. MASK is written
// as a binary PGM of the same size, with 255 on the object. X and Y are in pixels of the image; LABEL
// is 1 on the object and 0 elsewhere.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "mlx/export.h"
#include "mlx/ops.h"

namespace mx = mlx::core;

struct Image {
  int height, width;
  std::vector<uint8_t> pixels;  // height x width x 3
};

double number(const std::string& text) {
  try {
    return std::stod(text);
  } catch (const std::exception&) {
    throw std::runtime_error("'" + text + "' is not a number");
  }
}

Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("no such image: " + path);
  auto word = [&] {
    std::string text;
    while (file >> text && text[0] == '#')
      file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    return text;
  };
  auto magic = word(), width = word(), height = word(), largest = word();
  if (magic != "P6" || largest != "255")
    throw std::runtime_error(path + " is not a binary PPM of 8 bits (P6, 255)");
  Image image{int(number(height)), int(number(width)), {}};
  if (image.height < 1 || image.width < 1) throw std::runtime_error(path + " has no pixels");
  image.pixels.resize(size_t(image.height) * image.width * 3);
  file.get();  // one white space ends the header
  file.read(reinterpret_cast<char*>(image.pixels.data()), image.pixels.size());
  if (!file) throw std::runtime_error(path + " ends too early");
  return image;
}

// Antialiased bilinear resize of (outer, size, inner) bytes along one axis, bit for bit as Pillow
// does it: weights are rounded to 22 bits, and results to bytes.
std::vector<uint8_t> resize_axis(
    const std::vector<uint8_t>& in, int outer, int size, int inner, int new_size) {
  if (size == new_size) return in;
  constexpr int bits = 22;
  double scale = double(size) / new_size, reach = std::max(scale, 1.0);
  std::vector<uint8_t> out(size_t(outer) * new_size * inner);
  for (int i = 0; i < new_size; i++) {
    double centre = (i + 0.5) * scale;
    int first = std::max(0, int(centre - reach + 0.5));
    int end = std::min(size, int(centre + reach + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int k = first; k < end; k++) {
      weights.push_back(std::max(0.0, 1 - std::abs((k - centre + 0.5) * (1 / reach))));
      sum += weights.back();
    }
    std::vector<int> fixed;
    for (double weight : weights) fixed.push_back(int(0.5 + weight / sum * (1 << bits)));
    for (int o = 0; o < outer; o++)
      for (int c = 0; c < inner; c++) {
        int value = 1 << (bits - 1);
        for (int k = first; k < end; k++)
          value += in[(size_t(o) * size + k) * inner + c] * fixed[k - first];
        out[(size_t(o) * new_size + i) * inner + c] = std::min(value >> bits, 255);
      }
  }
  return out;
}

Image resize(const Image& image, int height, int width) {
  auto pixels = resize_axis(image.pixels, image.height, image.width, 3, width);
  return {height, width, resize_axis(pixels, 1, image.height, width * 3, height)};
}

struct Tap {
  int low, high;
  double t;  // value = (1 - t) * in[low] + t * in[high]
};

Tap bilinear(int size, int new_size, int i) {
  double centre = std::max(0.0, (i + 0.5) * (double(size) / new_size) - 0.5);
  int low = std::min(int(centre), size - 1);
  return {low, std::min(low + 1, size - 1), centre - low};
}

// Low-resolution logits cover the padded square. This is one (new_size, mask_size) matrix that, along
// one axis, enlarges them to the square, crops to the image, and resizes to the original size.
mx::array upscaling(int mask_size, int square, int input_size, int new_size) {
  std::vector<float> matrix;
  for (int i = 0; i < new_size; i++) {
    std::vector<double> row(mask_size);
    Tap outer = bilinear(input_size, new_size, i);
    for (auto [k, weight] : {std::pair{outer.low, 1 - outer.t}, {outer.high, outer.t}}) {
      Tap tap = bilinear(mask_size, square, k);
      row[tap.low] += weight * (1 - tap.t);
      row[tap.high] += weight * tap.t;
    }
    matrix.insert(matrix.end(), row.begin(), row.end());
  }
  return mx::array(matrix.data(), {new_size, mask_size}, mx::float32);
}

// The integer, or the list of integers, of a key of export.json.
std::vector<int> numbers(const std::string& json, const std::string& key) {
  size_t start = json.find("\"" + key + "\":");
  if (start == std::string::npos) throw std::runtime_error("export.json has no " + key);
  std::istringstream text(json.substr(json.find_first_of("0123456789", start)));
  std::vector<int> values;
  char comma = ',';
  for (int value; comma == ',' && text >> value; text >> comma) values.push_back(value);
  return values;
}

void segment(const std::vector<std::string>& args) {
  if (args.size() < 3)
    throw std::runtime_error(
        "usage: segment EXPORT IMAGE.ppm MASK.pgm [--box X0 Y0 X1 Y1] [X Y LABEL]...");
  std::vector<double> coords;  // x, y, ...
  std::vector<int> labels;
  bool box = false;
  for (size_t i = 3; i < args.size();) {
    bool corner = args[i] == "--box";
    if (args.size() < i + (corner ? 5 : 3) || (corner && box))
      throw std::runtime_error("a point is X Y LABEL; a box is --box X0 Y0 X1 Y1, at most once");
    if (corner) {
      for (int k = 1; k <= 4; k++) coords.push_back(number(args[i + k]));
      labels.insert(labels.end(), {2, 3});
      box = true;
    } else {
      coords.insert(coords.end(), {number(args[i]), number(args[i + 1])});
      if (args[i + 2] != "0" && args[i + 2] != "1")
        throw std::runtime_error("label " + args[i + 2] + "; expected 1 (on the object) or 0");
      labels.push_back(args[i + 2] == "1");
    }
    i += corner ? 5 : 3;
  }

  std::ifstream file(args[0] + "/export.json");
  if (!file) throw std::runtime_error("no export.json in " + args[0]);
  std::string json{std::istreambuf_iterator<char>(file), {}};
  int square = numbers(json, "image_size")[0], mask_size = numbers(json, "mask_size")[0];
  int used = labels.size(), slots = 0;
  for (int n : numbers(json, "points"))  // ascending
    if (!slots && n >= used) slots = n;
  if (!slots)
    throw std::runtime_error("more points than the decoder has slots; export more --points");
  auto encoder = mx::import_function(args[0] + "/encoder.mlxfn");
  auto decoder = mx::import_function(args[0] + "/decoder.mlxfn");

  Image image = read_ppm(args[1]);
  double scale = square * 1.0 / std::max(image.height, image.width);
  int height = std::max(1, int(image.height * scale + 0.5));
  int width = std::max(1, int(image.width * scale + 0.5));
  Image resized = resize(image, height, width);
  std::vector<uint8_t> padded(size_t(square) * square * 3);
  for (int y = 0; y < height; y++)
    std::copy_n(&resized.pixels[size_t(y) * width * 3], width * 3, &padded[size_t(y) * square * 3]);

  std::vector<float> xy(2 * slots);
  for (int i = 0; i < 2 * used; i++)
    xy[i] = coords[i] * (i % 2 ? double(height) / image.height : double(width) / image.width);
  labels.resize(slots, -1);

  mx::array input_size({height, width}, mx::int32);
  mx::array pixels(padded.data(), {1, square, square, 3}, mx::uint8);
  // All that the encoder returns, which is more than the embedding with SAM-HQ, is for the decoder.
  auto inputs = encoder({pixels, input_size});
  inputs.push_back(mx::array(xy.data(), {1, slots, 2}, mx::float32));
  inputs.push_back(mx::array(labels.data(), {1, slots}, mx::int32));
  inputs.push_back(input_size);
  auto outputs = decoder(inputs);
  // Results are lazy: `masks`, at the size of the square, is not used and never computed.
  auto scores = outputs[1], low_res_masks = outputs[4];

  int best = 0;
  if (used == 1)  // a single click is ambiguous: take the best of the alternatives
    best = 1 + mx::argmax(mx::slice(scores, {0, 1}, scores.shape())).item<uint32_t>();
  auto logits = mx::take(mx::squeeze(low_res_masks, 0), best, 0);
  auto mask = mx::matmul(
      mx::matmul(upscaling(mask_size, square, height, image.height), logits),
      mx::transpose(upscaling(mask_size, square, width, image.width)));
  auto object = mx::astype(mx::greater(mask, mx::array(0.0f)), mx::uint8);
  mask = mx::contiguous(mx::multiply(object, mx::array(uint8_t(255))));
  mask.eval();

  std::ofstream out(args[2], std::ios::binary);
  out << "P5\n" << image.width << " " << image.height << "\n255\n";
  out.write(reinterpret_cast<const char*>(mask.data<uint8_t>()), mask.size());
  if (!out.flush()) throw std::runtime_error("cannot write " + args[2]);
  std::cout << "mask " << best << ", predicted IoU "
            << mx::take(mx::squeeze(scores, 0), best, 0).item<float>() << "\n";
}

int main(int argc, char** argv) {
  try {
    segment({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "segment: " << error.what() << "\n";
    return 2;
  }
}
