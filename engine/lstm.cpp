// Kernels of lstm.py, softmax.py and list_draws.py, for float and bfloat16: the elementwise part of an LSTM step and all
// steps of a layer (forward and backward), the gradient of a table of rows, a transposition, a matrix-vector product,
// the cost and the drawing of classes, all steps of a decoder that draws, and the drawing of lists of codes.
//
// The gates' order is i, f, g, o. Cell states are float in both versions. All arrays are contiguous and row-major.
// Dimensions: rows (sequences), hidden (width of the layer), parts (of a frame).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")  // GCC prefers 256 bits, at two thirds of the speed
#endif

struct bfloat16 {
    uint16_t bits;
};

static inline float load(const float* address) { return *address; }
static inline void store(float* address, float value) { *address = value; }

static inline float load(const bfloat16* address) {
    const uint32_t bits = uint32_t(address->bits) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

static inline void store(bfloat16* address, float value) {  // rounds to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    address->bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// e^x = 2^n e^r with |r| <= ln 2 / 2, and a polynomial for e^r (Moshier's Cephes, expf.c).
// The error is at most one unit in the last place.
static inline float exponential(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    const float shifted = x * 1.44269504088896341f + 12582912.0f;  // adding 1.5 * 2^23 rounds to an integer
    const float n = shifted - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t exponent = (int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &exponent, 4);
    return p * scale;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

// tanh(x), by a polynomial for |x| < 0.625, where the quotient would lose digits (Cephes, tanhf.c).
static inline float hyperbolic_tangent(float x) {
    const float z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    return z < 0.390625f ? p * z * x + x : 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}

// `count` units of a row, from their gates before activation, which lie `distance` apart. `activated` may be null.
template <typename T>
static inline void activate(const float* gates, int64_t distance, const float* previous, float* cell, T* activated,
                            T* output, int64_t count, int64_t hidden) {
#pragma omp simd
    for (int64_t j = 0; j < count; j++) {
        const float i = sigmoid(gates[j]), f = sigmoid(gates[distance + j]);
        const float g = hyperbolic_tangent(gates[2 * distance + j]), o = sigmoid(gates[3 * distance + j]);
        const float c = f * previous[j] + i * g;
        cell[j] = c;
        store(output + j, o * hyperbolic_tangent(c));
        if (!activated) continue;
        store(activated + j, i), store(activated + hidden + j, f);
        store(activated + 2 * hidden + j, g), store(activated + 3 * hidden + j, o);
    }
}

// One step. The gates before activation are recurrent[n] + sum over parts of table[indices[n, part]].
// Without indices (parts = 1) the sum is table[n]. Without a table (parts = 0) it is zero.
// `activated` receives the activated gates. It may be null, or equal to `table`.
template <typename T>
static void forward(const T* table, const int64_t* indices, const T* recurrent, const float* previous, float* cell,
                    T* activated, T* output, int64_t parts, int64_t rows, int64_t hidden) {
    const int64_t width = 4 * hidden;
#pragma omp parallel for if (rows * hidden > 4096)
    for (int64_t n = 0; n < rows; n++) {
        const T* recurrent_row = recurrent + n * width;
        float gates[4][64];
        for (int64_t first = 0; first < hidden; first += 64) {
            const int64_t count = hidden - first < 64 ? hidden - first : 64;
            for (int64_t gate = 0; gate < 4; gate++) {
                const int64_t column = gate * hidden + first;
                for (int64_t j = 0; j < count; j++) gates[gate][j] = load(recurrent_row + column + j);
                for (int64_t part = 0; part < parts; part++) {
                    const T* row = table + (indices ? indices[n * parts + part] : n) * width + column;
                    for (int64_t j = 0; j < count; j++) gates[gate][j] += load(row + j);
                }
            }
            const int64_t start = n * hidden + first;
            T* kept = activated ? activated + n * width + first : nullptr;
            activate(gates[0], 64, previous + start, cell + start, kept, output + start, count, hidden);
        }
    }
}

// The gradient of a step of one sequence, with the arguments of `backward`.
template <typename T>
static inline void backward_row(const T* gates, const float* previous, const float* cell, const T* d_output,
                                const T* d_hidden, float* d_cell, T* d, int64_t hidden) {
#pragma omp simd
    for (int64_t j = 0; j < hidden; j++) {
        const float i = load(gates + j), f = load(gates + hidden + j);
        const float g = load(gates + 2 * hidden + j), o = load(gates + 3 * hidden + j);
        const float tanh_cell = hyperbolic_tangent(cell[j]);
        const float d_h = load(d_hidden + j) + (d_output ? load(d_output + j) : 0.0f);
        const float d_c = d_cell[j] + d_h * o * (1.0f - tanh_cell * tanh_cell);
        store(d + j, d_c * g * i * (1.0f - i));
        store(d + hidden + j, d_c * previous[j] * f * (1.0f - f));
        store(d + 2 * hidden + j, d_c * i * (1.0f - g * g));
        store(d + 3 * hidden + j, d_h * tanh_cell * o * (1.0f - o));
        d_cell[j] = d_c * f;
    }
}

// The gradient of one step. The gradient of its output is the sum of d_output (from the layer's outputs, may be null) and
// d_hidden (from the next step). d_cell is the gradient of `cell` and is replaced by the gradient of `previous`.
template <typename T>
static void backward(const T* activated, const float* previous, const float* cell, const T* d_output, const T* d_hidden,
                     float* d_cell, T* d_gates, int64_t rows, int64_t hidden) {
    const int64_t width = 4 * hidden;
#pragma omp parallel for if (rows * hidden > 4096)
    for (int64_t n = 0; n < rows; n++) {
        const int64_t row = n * hidden;
        backward_row(activated + n * width, previous + row, cell + row, d_output ? d_output + row : nullptr,
                     d_hidden + row, d_cell + row, d_gates + n * width, hidden);
    }
}

// ---- All steps of a layer at once ----
//
// The sequences are independent of each other. A thread therefore takes a block of them through all steps, without
// waiting for other threads. A block is as many rows as the registers of a product hold.

#if defined(__AVX512F__)
constexpr int64_t LANES = 16, BLOCK = 8;  // floats per vector, rows per block
#else
constexpr int64_t LANES = 8, BLOCK = 4;
#endif
constexpr int64_t PANEL = 2 * LANES;  // columns of a product that are computed together
typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4)));

static inline int64_t padded(int64_t columns) { return (columns + PANEL - 1) / PANEL * PANEL; }

// A matrix [inputs, outputs], given by the distances between its elements, as panels [outputs / PANEL, inputs, PANEL].
template <typename T>
static void pack(const T* matrix, float* panels, int64_t inputs, int64_t outputs, int64_t in_stride,
                 int64_t out_stride) {
    for (int64_t j = 0; j < outputs; j++)
        for (int64_t i = 0; i < inputs; i++)
            panels[(j / PANEL * inputs + i) * PANEL + j % PANEL] = load(matrix + i * in_stride + j * out_stride);
}

// out [BLOCK, outputs] = x [BLOCK, inputs] times a packed matrix; the rows of out are `padded(outputs)` long.
static void multiply_block(const float* x, const float* panels, float* out, int64_t inputs, int64_t outputs) {
    const int64_t width = padded(outputs);
    for (int64_t first = 0; first < width; first += PANEL) {
        const float* panel = panels + first * inputs;
        Vector sums[BLOCK][2] = {};
        for (int64_t i = 0; i < inputs; i++) {
            const Vector a = *(const Vector*)(panel + i * PANEL), b = *(const Vector*)(panel + i * PANEL + LANES);
#pragma GCC unroll 8
            for (int64_t n = 0; n < BLOCK; n++) {
                sums[n][0] += a * x[n * inputs + i];
                sums[n][1] += b * x[n * inputs + i];
            }
        }
        for (int64_t n = 0; n < BLOCK; n++) std::memcpy(out + n * width + first, sums[n], sizeof(sums[n]));
    }
}

// Steps of a layer. The gates before activation are the product of the state and a packed matrix [H, 4H], plus `added`
// (a row per sequence, or one for all), plus the rows of the table, as in `forward`. Without indices the table has a
// row per step and sequence. `gates`, `outputs` and `cells` have an axis of steps.
template <typename T>
static void forward_steps(const T* table, const int64_t* indices, const float* panels, const T* added, const T* h0,
                          const float* c0, T* gates, T* outputs, float* cells, int64_t parts, int64_t steps,
                          int64_t rows, int64_t hidden, int64_t reverse, int64_t added_rows) {
    const int64_t width = 4 * hidden, long_width = padded(width);
#pragma omp parallel for if (rows > BLOCK)
    for (int64_t start = 0; start < rows; start += BLOCK) {
        const int64_t end = start + BLOCK < rows ? start + BLOCK : rows;
        std::vector<float> h(BLOCK * hidden), sums(BLOCK * long_width);
        for (int64_t k = 0; k < (end - start) * hidden; k++) h[k] = load(h0 + start * hidden + k);
        const float* previous = c0;
        for (int64_t step = 0; step < steps; step++) {
            const int64_t t = reverse ? steps - 1 - step : step;
            multiply_block(h.data(), panels, sums.data(), hidden, width);
            for (int64_t n = start; n < end; n++) {
                float* row = sums.data() + (n - start) * long_width;
                const T* constant = added + (added_rows > 1 ? n * width : 0);
                for (int64_t j = 0; j < width; j++) row[j] += load(constant + j);
                for (int64_t part = 0; part < parts; part++) {
                    const int64_t k = (t * rows + n) * (indices ? parts : 1) + part;
                    const T* from = table + (indices ? indices[k] : k) * width;
                    for (int64_t j = 0; j < width; j++) row[j] += load(from + j);
                }
                const int64_t place = (t * rows + n) * hidden;
                T* output = outputs + place;
                activate(row, hidden, previous + n * hidden, cells + place, gates + (t * rows + n) * width, output,
                         hidden, hidden);
                for (int64_t j = 0; j < hidden; j++) h[(n - start) * hidden + j] = load(output + j);
            }
            previous = cells + t * rows * hidden;
        }
    }
}

// The gradient of `forward_steps`, with a packed matrix [4H, H]: d_gates for all steps, and in d_h and d_c, which hold
// the gradients of the last state, those of the first one. d_outputs may be null.
template <typename T>
static void backward_steps(const T* gates, const float* c0, const float* cells, const float* panels, const T* d_outputs,
                           T* d_h, float* d_c, T* d_gates, int64_t steps, int64_t rows, int64_t hidden,
                           int64_t reverse) {
    const int64_t width = 4 * hidden, long_hidden = padded(hidden);
#pragma omp parallel for if (rows > BLOCK)
    for (int64_t start = 0; start < rows; start += BLOCK) {
        const int64_t end = start + BLOCK < rows ? start + BLOCK : rows;
        std::vector<float> d(BLOCK * width), sums(BLOCK * long_hidden);
        for (int64_t step = 0; step < steps; step++) {
            const int64_t t = reverse ? step : steps - 1 - step;
            const float* previous = step == steps - 1 ? c0 : cells + (reverse ? t + 1 : t - 1) * rows * hidden;
            for (int64_t n = start; n < end; n++) {
                const int64_t row = n * hidden, place = t * rows * hidden + row;
                T* out = d_gates + 4 * place;
                backward_row(gates + 4 * place, previous + row, cells + place, d_outputs ? d_outputs + place : nullptr,
                             d_h + row, d_c + row, out, hidden);
                for (int64_t j = 0; j < width; j++) d[(n - start) * width + j] = load(out + j);
            }
            multiply_block(d.data(), panels, sums.data(), width, hidden);
            for (int64_t n = start; n < end; n++)
                for (int64_t j = 0; j < hidden; j++)
                    store(d_h + n * hidden + j, sums[(n - start) * long_hidden + j]);
        }
    }
}

// The gradient of a table whose rows were added to gates: d_table[indices[n, part]] += d_gates[n].
template <typename T>
static void scatter(const T* d_gates, const int64_t* indices, float* d_table, int64_t parts, int64_t rows,
                    int64_t width) {
#pragma omp parallel for if (rows * width > 16384)
    for (int64_t first = 0; first < width; first += 256) {  // a thread owns columns, so that the sums have one order
        const int64_t count = width - first < 256 ? width - first : 256;
        for (int64_t k = 0; k < rows * parts; k++) {
            const T* d = d_gates + k / parts * width + first;
            float* row = d_table + indices[k] * width + first;
#pragma omp simd
            for (int64_t j = 0; j < count; j++) row[j] += load(d + j);
        }
    }
}

// target[j, i] = source[i, j] for source [rows, columns]; `stride` is the length of a row of the target.
template <typename T>
static void transpose(const T* source, T* target, int64_t rows, int64_t columns, int64_t stride) {
#pragma omp parallel for if (rows * columns > 16384)
    for (int64_t first = 0; first < rows; first += 32) {
        const int64_t end = first + 32 < rows ? first + 32 : rows;
        for (int64_t j = 0; j < columns; j++)
            for (int64_t i = first; i < end; i++) target[j * stride + i] = source[i * columns + j];
    }
}

// output = weight x + summand, for weight [outputs, inputs]; summand may be null. The weight is read once, in two
// sequential streams, which is faster than one stream or many.
template <typename T>
static void multiply(const T* weight, const T* x, const T* summand, T* output, int64_t inputs, int64_t outputs) {
    const int64_t half = (outputs + 1) / 2;
    std::vector<float> values(inputs);
    for (int64_t j = 0; j < inputs; j++) values[j] = load(x + j);
    const float* v = values.data();
#pragma omp parallel for if (inputs * outputs > 16384)
    for (int64_t k = 0; k < half; k++) {
        const int64_t rows[2] = {k, k + half < outputs ? k + half : k};
        const T *first = weight + rows[0] * inputs, *second = weight + rows[1] * inputs;
        float a = 0.0f, b = 0.0f;
#pragma omp simd reduction(+ : a, b)
        for (int64_t j = 0; j < inputs; j++) a += load(first + j) * v[j], b += load(second + j) * v[j];
        store(output + rows[0], summand ? a + load(summand + rows[0]) : a);
        store(output + rows[1], summand ? b + load(summand + rows[1]) : b);
    }
}

// The sum of e^(logit - largest) over the logits from `first` to `end`.
template <typename T>
static inline float exponentials(const T* row, int64_t first, int64_t end, float largest) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = first; j < end; j++) sum += exponential(load(row + j) - largest);
    return sum;
}

// The cross-entropy of the classes of each row, summed over its parts. classes[n, part] is a position in logits[n]; any
// other number stands for no class, which costs 0. `sums` receives each part's largest logit and the sum of its
// exponentials without that of the class, which keeps the digits of a cost near 0.
template <typename T>
static void nats(const T* logits, const int64_t* depths, const int64_t* classes, float* cost, float* sums,
                 int64_t parts, int64_t rows, int64_t width) {
#pragma omp parallel for if (rows * width > 16384)
    for (int64_t n = 0; n < rows; n++) {
        const T* row = logits + n * width;
        cost[n] = 0.0f;
        for (int64_t part = 0, first = 0; part < parts; first += depths[part++]) {
            float largest = load(row + first);
            const int64_t end = first + depths[part], k = n * parts + part, chosen = classes[k];
#pragma omp simd reduction(max : largest)
            for (int64_t j = first; j < end; j++) largest = load(row + j) > largest ? load(row + j) : largest;
            const bool counts = chosen >= first && chosen < end;
            float rest = exponentials(row, first, counts ? chosen : end, largest);
            if (counts) {
                rest += exponentials(row, chosen + 1, end, largest);
                const float behind = load(row + chosen) - largest;  // 0 for the most likely class
                cost[n] += behind == 0.0f ? std::log1p(rest) : std::log(rest + exponential(behind)) - behind;
            }
            sums[2 * k] = largest, sums[2 * k + 1] = rest;
        }
    }
}

// The gradient of `nats`, from that of each row's cost.
template <typename T>
static void nats_gradient(const T* logits, const int64_t* depths, const int64_t* classes, const float* sums,
                          const float* d_cost, T* d_logits, int64_t parts, int64_t rows, int64_t width) {
#pragma omp parallel for if (rows * width > 16384)
    for (int64_t n = 0; n < rows; n++) {
        const T* row = logits + n * width;
        T* d = d_logits + n * width;
        for (int64_t part = 0, first = 0; part < parts; first += depths[part++]) {
            const int64_t end = first + depths[part], k = n * parts + part, chosen = classes[k];
            const float largest = sums[2 * k], rest = sums[2 * k + 1];
            if (chosen < first || chosen >= end) {
                for (int64_t j = first; j < end; j++) store(d + j, 0.0f);
                continue;
            }
            const float scale = d_cost[n] / (rest + exponential(load(row + chosen) - largest));
#pragma omp simd
            for (int64_t j = first; j < end; j++) store(d + j, scale * exponential(load(row + j) - largest));
            store(d + chosen, -scale * rest);
        }
    }
}

// Draws a class from softmax(logits / temperature) by inverse transform sampling, with `uniform` in [0, 1).
// Temperature 0 returns the class of the largest logit. `scratch` has space for `depth` numbers.
template <typename T>
static int64_t draw_class(const T* logits, int64_t depth, float temperature, float uniform, float* scratch) {
    float maximum = load(logits);
#pragma omp simd reduction(max : maximum)
    for (int64_t j = 0; j < depth; j++) {
        scratch[j] = load(logits + j);
        maximum = scratch[j] > maximum ? scratch[j] : maximum;
    }
    if (temperature == 0.0f) return std::find(scratch, scratch + depth - 1, maximum) - scratch;
#pragma omp simd
    for (int64_t j = 0; j < depth; j++) {
        const float x = (scratch[j] - maximum) / temperature;
        scratch[j] = x < -87.0f ? 0.0f : exponential(x);
    }
    double total = 0.0, sum = 0.0;
    for (int64_t j = 0; j < depth; j++) total += scratch[j];
    const double threshold = uniform * total;
    for (int64_t j = 0; j < depth; j++)
        if ((sum += scratch[j]) > threshold) return j;
    return depth - 1;
}

// classes[n, part] = position in logits[n] of the class drawn for a part, by uniforms[n, part]; depths[part] is the
// part's number of classes.
template <typename T>
static void draw(const T* logits, const int64_t* depths, const float* uniforms, int64_t* classes, float temperature,
                 int64_t parts, int64_t rows, int64_t width) {
#pragma omp parallel for if (rows * width > 16384)
    for (int64_t n = 0; n < rows; n++) {
        std::vector<float> scratch(width);
        int64_t first = 0;
        for (int64_t part = 0; part < parts; part++) {
            const float uniform = uniforms[n * parts + part];
            const T* part_logits = logits + n * width + first;
            classes[n * parts + part] =
                first + draw_class(part_logits, depths[part], temperature, uniform, scratch.data());
            first += depths[part];
        }
    }
}

// A layer of a decoder that goes step by step. The last layer of a core has no recurrent weight and writes logits.
template <typename T>
struct StepLayer {
    const T* weight;     // [outputs, inputs], of the layer below; null in the first layer
    const T* added;      // [outputs], or [segments, outputs]
    const T* recurrent;  // [outputs, hidden], where outputs = 4 * hidden
    const T* table;      // [depth + 1, outputs], rows of the core's classes, and of none; null above the first layer
    T* output;           // [segments, hidden], at each segment's start; overwritten
    float* cell;         // the same
    int64_t inputs, outputs, stride;  // stride of `added`, 0 or outputs
    int64_t parts, depth;             // of a frame, which the first layer reads; 0 above it
};

// Draws the frames of one sequence, each given the one before it. `classes` starts with the frame before the first
// step. `layers` holds the layers of all cores, core by core. Each segment has `length` steps. `multiply` adds to its own
// output, as it writes each number after reading it: their count, 4 * hidden, is even.
template <typename T>
static void draw_steps(const StepLayer<T>* layers, const int64_t* depths, const float* uniforms, int64_t* classes,
                       float temperature, int64_t count, int64_t parts, int64_t steps, int64_t length, int64_t width) {
    int64_t widest = 0;
    for (int64_t k = 0; k < count; k++) widest = std::max(widest, layers[k].outputs);
    std::vector<T> gates(widest), logits(width);
    std::vector<int64_t> rows(parts);
    for (int64_t t = 0; t < steps; t++, classes += parts, uniforms += parts) {
        const T* below = nullptr;
        int64_t first = 0, part = 0;  // logit and part with which the core starts
        for (const StepLayer<T>* layer = layers; layer < layers + count; layer++) {
            const int64_t hidden = layer->outputs / 4, start = t / length * hidden;
            const T* sum = layer->added + t / length * layer->stride;
            if (layer->weight) {
                T* product = layer->recurrent ? gates.data() : logits.data() + first;
                multiply(layer->weight, below, sum, product, layer->inputs, layer->outputs);
                sum = product;
            }
            if (!layer->recurrent) {
                first += layer->outputs;
                continue;
            }
            T* output = layer->output + start;
            float* cell = layer->cell + start;
            multiply(layer->recurrent, output, sum, gates.data(), hidden, layer->outputs);
            for (int64_t k = 0; k < layer->parts; k++)
                rows[k] = std::min(classes[part++] - first, layer->depth);
            forward<T>(layer->table, rows.data(), gates.data(), cell, cell, nullptr, output, layer->parts, 1, hidden);
            below = output;
        }
        draw(logits.data(), depths, uniforms, classes + parts, temperature, parts, 1, width);
    }
}

// Draws lists of rising codes, see list_draws.py. A list ends with the code 2 * places.
static void draw_lists(const float* hidden, const float* biases, const float* table, const float* weight,
                       const float* uniforms, int64_t* codes, float temperature, int64_t rows, int64_t width,
                       int64_t places, int64_t length) {
    const int64_t none = 2 * places;
#pragma omp parallel for if (rows * width > 4096)
    for (int64_t n = 0; n < rows; n++) {
        std::vector<float> sum(hidden + n * width, hidden + (n + 1) * width), units(width), logits(none + 1);
        std::vector<float> scratch(none + 1);
        int64_t from = 0;  // the first place that a code may still have
        for (int64_t k = 0; k < length; k++) {
            int64_t code = none;
            if (from <= places) {
                for (int64_t j = 0; j < width; j++) units[j] = hyperbolic_tangent(sum[j]);
                const int64_t left = places - from;
                for (int64_t j = 0; j <= 2 * left; j++) {
                    const int64_t at = j == 2 * left ? none : j < left ? from + j : places + from + (j - left);
                    const float *w = weight + at * width, *u = units.data();
                    float score = 0.0f;
#pragma omp simd reduction(+ : score)
                    for (int64_t i = 0; i < width; i++) score += w[i] * u[i];
                    logits[j] = score + biases[n * (none + 1) + at];
                }
                const float uniform = uniforms[n * length + k];
                const int64_t drawn = draw_class(logits.data(), 2 * left + 1, temperature, uniform, scratch.data());
                if (drawn < 2 * left) {
                    code = drawn < left ? from + drawn : places + from + (drawn - left);
                    for (int64_t i = 0; i < width; i++) sum[i] += table[code * width + i];
                }
                from = code == none ? places + 1 : code % places + 1;
            }
            codes[n * length + k] = code;
        }
    }
}

extern "C" void draw_lists_float32(const float* hidden, const float* biases, const float* table, const float* weight,
                                   const float* uniforms, int64_t* codes, float temperature, int64_t rows,
                                   int64_t width, int64_t places, int64_t length) {
    draw_lists(hidden, biases, table, weight, uniforms, codes, temperature, rows, width, places, length);
}

// The hidden units of every code of every list, see ListUnits in list_draws.py: units [codes, width].
extern "C" void list_units_float32(const float* hidden, const float* table, const int64_t* codes, float* units,
                                   int64_t rows, int64_t width, int64_t length, int64_t none) {
    std::vector<float> sum(width);
    for (int64_t n = 0; n < rows; n++) {
        std::memcpy(sum.data(), hidden + n * width, width * sizeof(float));
        for (int64_t k = 0; k < length; k++, units += width) {
            for (int64_t i = 0; i < width; i++) units[i] = hyperbolic_tangent(sum[i]);
            const int64_t code = codes[n * length + k];
            if (code == none) {
                units += width;
                break;
            }
            for (int64_t i = 0; i < width; i++) sum[i] += table[code * width + i];
        }
    }
}

// Their gradient: d_table has to be 0 before. It goes from the last code of the last list to the first of the first.
extern "C" void list_units_backward_float32(const float* units, const float* d_units, const int64_t* codes,
                                            float* d_hidden, float* d_table, int64_t rows, int64_t width,
                                            int64_t length, int64_t none, int64_t count) {
    units += count * width, d_units += count * width;
    for (int64_t n = rows - 1; n >= 0; n--) {
        const int64_t* list = codes + n * length;
        float* sum = d_hidden + n * width;
        int64_t used = 0;
        while (used < length && list[used] != none) used++;
        std::memset(sum, 0, width * sizeof(float));
        for (int64_t k = used < length ? used : length - 1; k >= 0; k--) {
            units -= width, d_units -= width;
            float* d_row = d_table + list[k] * width;
            for (int64_t i = 0; i < width; i++) d_row[i] += sum[i];
            for (int64_t i = 0; i < width; i++) sum[i] += d_units[i] * (1.0f - units[i] * units[i]);
        }
    }
}

#define EXPORT(T, NAME)                                                                                              \
    extern "C" void forward_##NAME(const T* table, const int64_t* indices, const T* recurrent, const float* previous,\
                                   float* cell, T* activated, T* output, int64_t parts, int64_t rows,                \
                                   int64_t hidden) {                                                                 \
        forward<T>(table, indices, recurrent, previous, cell, activated, output, parts, rows, hidden);               \
    }                                                                                                                \
    extern "C" void backward_##NAME(const T* activated, const float* previous, const float* cell, const T* d_output, \
                                    const T* d_hidden, float* d_cell, T* d_gates, int64_t rows, int64_t hidden) {    \
        backward<T>(activated, previous, cell, d_output, d_hidden, d_cell, d_gates, rows, hidden);                   \
    }                                                                                                                \
    extern "C" void pack_##NAME(const T* matrix, float* panels, int64_t inputs, int64_t outputs, int64_t in_stride,  \
                                int64_t out_stride) {                                                                \
        pack<T>(matrix, panels, inputs, outputs, in_stride, out_stride);                                             \
    }                                                                                                                \
    extern "C" void forward_steps_##NAME(const T* table, const int64_t* indices, const float* panels, const T* added,  \
                                         const T* h0, const float* c0, T* gates, T* outputs, float* cells,           \
                                         int64_t parts, int64_t steps, int64_t rows, int64_t hidden,                 \
                                         int64_t reverse, int64_t added_rows) {                                      \
        forward_steps<T>(table, indices, panels, added, h0, c0, gates, outputs, cells, parts, steps, rows, hidden,   \
                         reverse, added_rows);                                                                       \
    }                                                                                                                \
    extern "C" void backward_steps_##NAME(const T* gates, const float* c0, const float* cells, const float* panels,  \
                                          const T* d_outputs, T* d_h, float* d_c, T* d_gates, int64_t steps,         \
                                          int64_t rows, int64_t hidden, int64_t reverse) {                           \
        backward_steps<T>(gates, c0, cells, panels, d_outputs, d_h, d_c, d_gates, steps, rows, hidden, reverse);     \
    }                                                                                                                \
    extern "C" void scatter_##NAME(const T* d_gates, const int64_t* indices, float* d_table, int64_t parts,          \
                                   int64_t rows, int64_t width) {                                                    \
        scatter<T>(d_gates, indices, d_table, parts, rows, width);                                                   \
    }                                                                                                                \
    extern "C" void transpose_##NAME(const T* source, T* target, int64_t rows, int64_t columns, int64_t stride) {    \
        transpose<T>(source, target, rows, columns, stride);                                                         \
    }                                                                                                                \
    extern "C" void multiply_##NAME(const T* weight, const T* x, const T* summand, T* output, int64_t inputs,        \
                                    int64_t outputs) {                                                               \
        multiply<T>(weight, x, summand, output, inputs, outputs);                                                    \
    }                                                                                                                \
    extern "C" void nats_##NAME(const T* logits, const int64_t* depths, const int64_t* classes, float* cost,         \
                                float* sums, int64_t parts, int64_t rows, int64_t width) {                           \
        nats<T>(logits, depths, classes, cost, sums, parts, rows, width);                                            \
    }                                                                                                                \
    extern "C" void nats_gradient_##NAME(const T* logits, const int64_t* depths, const int64_t* classes,             \
                                         const float* sums, const float* d_cost, T* d_logits, int64_t parts,         \
                                         int64_t rows, int64_t width) {                                              \
        nats_gradient<T>(logits, depths, classes, sums, d_cost, d_logits, parts, rows, width);                       \
    }                                                                                                                \
    extern "C" void draw_##NAME(const T* logits, const int64_t* depths, const float* uniforms, int64_t* classes,     \
                                float temperature, int64_t parts, int64_t rows, int64_t width) {                     \
        draw<T>(logits, depths, uniforms, classes, temperature, parts, rows, width);                                 \
    }                                                                                                                \
    extern "C" void draw_steps_##NAME(const void* layers, const int64_t* depths, const float* uniforms,              \
                                      int64_t* classes, float temperature, int64_t count, int64_t parts,             \
                                      int64_t steps, int64_t length, int64_t width) {                                \
        draw_steps((const StepLayer<T>*)layers, depths, uniforms, classes, temperature, count, parts, steps, length, \
                   width);                                                                                           \
    }

EXPORT(float, float32)
EXPORT(bfloat16, bfloat16)
