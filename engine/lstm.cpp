// The elementwise part of an LSTM's step, forward and backward, a weight's product with one vector, and the draw of
// classes from logits, for float and bfloat16; `lstm.py` compiles it.
// Gates stand in the order i, f, g, o. Cells are float, whatever the gates are. All arrays are contiguous.
#include <cstdint>
#include <cstring>
#include <vector>

struct bfloat16 {
    uint16_t bits;
};

static inline float load(const float* at) { return *at; }
static inline void store(float* at, float value) { *at = value; }

static inline float load(const bfloat16* at) {
    const uint32_t bits = uint32_t(at->bits) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

static inline void store(bfloat16* at, float value) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    at->bits = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// e^x by 2^n e^r with |r| <= ln 2 / 2 (Cephes, expf.c; Moshier): one unit in the last place.
static inline float exponential(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    const float shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the sum is rounded to an integer
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

// A polynomial where the quotient would cancel (Cephes, tanhf.c).
static inline float tangent(float x) {
    const float z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    return z < 0.390625f ? p * z * x + x : 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
}

// gates[n] = sum over parts of inputs[index[n, part]] + recurrent[n]; without an index, inputs[n]; without inputs, 0.
// `activated` may be `inputs`, or null.
template <typename T>
static void forward(const T* inputs, const int64_t* index, const T* recurrent, const float* previous, float* cell,
                    T* activated, T* output, int64_t parts, int64_t rows, int64_t hidden) {
    const int64_t width = 4 * hidden;
#pragma omp parallel for if (rows * hidden > 4096)
    for (int64_t n = 0; n < rows; n++) {
        const T* own = recurrent + n * width;
        float gates[4][64];
        for (int64_t first = 0; first < hidden; first += 64) {
            const int64_t count = hidden - first < 64 ? hidden - first : 64;
            for (int64_t gate = 0; gate < 4; gate++) {
                const int64_t at = gate * hidden + first;
                for (int64_t j = 0; j < count; j++) gates[gate][j] = load(own + at + j);
                for (int64_t part = 0; part < parts; part++) {
                    const T* row = inputs + (index ? index[n * parts + part] : n) * width + at;
                    for (int64_t j = 0; j < count; j++) gates[gate][j] += load(row + j);
                }
            }
            const int64_t at = n * hidden + first;
#pragma omp simd
            for (int64_t j = 0; j < count; j++) {
                const float i = sigmoid(gates[0][j]), f = sigmoid(gates[1][j]);
                const float g = tangent(gates[2][j]), o = sigmoid(gates[3][j]);
                const float c = f * previous[at + j] + i * g;
                cell[at + j] = c;
                store(output + at + j, o * tangent(c));
                gates[0][j] = i, gates[1][j] = f, gates[2][j] = g, gates[3][j] = o;
            }
            if (!activated) continue;
            for (int64_t gate = 0; gate < 4; gate++)
                for (int64_t j = 0; j < count; j++)
                    store(activated + n * width + gate * hidden + first + j, gates[gate][j]);
        }
    }
}

// `above` is the gradient of the output, `recurrent` what the step after adds to it, `d_cell` that of the cell: read
// as the step's own and left as the one of the step before.
template <typename T>
static void backward(const T* activated, const float* previous, const float* cell, const T* above, const T* recurrent,
                     float* d_cell, T* d_gates, int64_t rows, int64_t hidden) {
    const int64_t width = 4 * hidden;
#pragma omp parallel for if (rows * hidden > 4096)
    for (int64_t n = 0; n < rows; n++) {
        const T* gates = activated + n * width;
        T* d = d_gates + n * width;
        const int64_t row = n * hidden;
#pragma omp simd
        for (int64_t j = 0; j < hidden; j++) {
            const float i = load(gates + j), f = load(gates + hidden + j);
            const float g = load(gates + 2 * hidden + j), o = load(gates + 3 * hidden + j);
            const float squashed = tangent(cell[row + j]);
            const float d_output = load(above + row + j) + load(recurrent + row + j);
            const float d_c = d_cell[row + j] + d_output * o * (1.0f - squashed * squashed);
            store(d + j, d_c * g * i * (1.0f - i));
            store(d + hidden + j, d_c * previous[row + j] * f * (1.0f - f));
            store(d + 2 * hidden + j, d_c * i * (1.0f - g * g));
            store(d + 3 * hidden + j, d_output * squashed * o * (1.0f - o));
            d_cell[row + j] = d_c * f;
        }
    }
}

// out = weight x + summand, where there is one. The weight is read once, in two streams from front to back, which
// memory delivers faster than one or many.
template <typename T>
static void multiply(const T* weight, const T* x, const T* summand, T* out, int64_t inputs, int64_t outputs) {
    const int64_t half = (outputs + 1) / 2;
    std::vector<float> values(inputs);
    for (int64_t j = 0; j < inputs; j++) values[j] = load(x + j);
    const float* v = values.data();
#pragma omp parallel for if (inputs * outputs > 16384)
    for (int64_t k = 0; k < half; k++) {
        const int64_t rows[2] = {k, k + half < outputs ? k + half : k};
        const T *one = weight + rows[0] * inputs, *other = weight + rows[1] * inputs;
        float a = 0.0f, b = 0.0f;
#pragma omp simd reduction(+ : a, b)
        for (int64_t j = 0; j < inputs; j++) a += load(one + j) * v[j], b += load(other + j) * v[j];
        store(out + rows[0], summand ? a + load(summand + rows[0]) : a);
        store(out + rows[1], summand ? b + load(summand + rows[1]) : b);
    }
}

// Where a number between 0 and 1 falls among the shares of logits' classes, laid end to end; at temperature 0 the
// largest logit.
template <typename T>
static int64_t draw_class(const T* logits, int64_t depth, float temperature, float number, float* shares) {
    int64_t best = 0;
    for (int64_t j = 0; j < depth; j++) {
        shares[j] = load(logits + j);
        if (shares[j] > shares[best]) best = j;
    }
    if (temperature == 0.0f) return best;
    const float most = shares[best];
#pragma omp simd
    for (int64_t j = 0; j < depth; j++) {
        const float x = (shares[j] - most) / temperature;
        shares[j] = x < -87.0f ? 0.0f : exponential(x);
    }
    double total = 0.0, sum = 0.0;
    for (int64_t j = 0; j < depth; j++) total += shares[j];
    const double wanted = number * total;
    for (int64_t j = 0; j < depth; j++)
        if ((sum += shares[j]) > wanted) return j;
    return depth - 1;
}

// classes[n, part] = the class drawn of each part of logits[n], counted from the first part's first, by numbers[n, part].
template <typename T>
static void draw(const T* logits, const int64_t* depths, const float* numbers, int64_t* classes, float temperature,
                 int64_t parts, int64_t rows, int64_t width) {
#pragma omp parallel for if (rows * width > 16384)
    for (int64_t n = 0; n < rows; n++) {
        std::vector<float> shares(width);
        int64_t first = 0;
        for (int64_t part = 0; part < parts; part++) {
            const float number = numbers[n * parts + part];
            const T* own = logits + n * width + first;
            classes[n * parts + part] = first + draw_class(own, depths[part], temperature, number, shares.data());
            first += depths[part];
        }
    }
}

#define EXPORT(T, NAME)                                                                                              \
    extern "C" void forward_##NAME(const T* inputs, const int64_t* index, const T* recurrent, const float* previous, \
                                   float* cell, T* activated, T* output, int64_t parts, int64_t rows,                \
                                   int64_t hidden) {                                                                 \
        forward<T>(inputs, index, recurrent, previous, cell, activated, output, parts, rows, hidden);                \
    }                                                                                                                \
    extern "C" void backward_##NAME(const T* activated, const float* previous, const float* cell, const T* above,   \
                                    const T* recurrent, float* d_cell, T* d_gates, int64_t rows, int64_t hidden) {  \
        backward<T>(activated, previous, cell, above, recurrent, d_cell, d_gates, rows, hidden);                     \
    }                                                                                                                \
    extern "C" void multiply_##NAME(const T* weight, const T* x, const T* summand, T* out, int64_t inputs,           \
                                    int64_t outputs) {                                                               \
        multiply<T>(weight, x, summand, out, inputs, outputs);                                                       \
    }                                                                                                                \
    extern "C" void draw_##NAME(const T* logits, const int64_t* depths, const float* numbers, int64_t* classes,      \
                                float temperature, int64_t parts, int64_t rows, int64_t width) {                     \
        draw<T>(logits, depths, numbers, classes, temperature, parts, rows, width);                                  \
    }

EXPORT(float, float32)
EXPORT(bfloat16, bfloat16)
