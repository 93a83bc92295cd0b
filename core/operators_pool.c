/* Maximum pooling. max_pool2d(x) picks from x what is largest in each window of x; picking from other numbers and
 * putting numbers back there are adjoint to each other, and neither changes when x does a little. */
#include "batch.h"
#include "fail.h"
#include "kernel_pool.h"
#include "operators.h"

/* attributes, [WINDOW_ATTRIBUTES]: (height, width) pairs, then whether a last window may reach beyond the image */
enum { KERNEL_SIZE = 0, STRIDE = 2, PADDING = 4, DILATION = 6, CEIL = 8, WINDOW_ATTRIBUTES = 9 };

/* How many windows there are along an axis, 0 if none fits. One that reaches beyond the image has to begin before the padding
 * behind it. */
static int64_t window_count(int64_t size, int64_t padding, int64_t span, int64_t stride, bool ceil) {
    int64_t room = size + 2 * padding - span + (ceil ? stride - 1 : 0);
    if (room < 0) return 0;
    return ceil && room / stride * stride >= size + padding ? room / stride : room / stride + 1;
}

static shape pooled_shape(const char *name, const node *x, const int64_t *window) {
    shape s = x->shape;
    if (s.rank != 4)
        fail(ERROR_SHAPE, "%s: x must be (n, channels, height, width), not of shape %s", name, shape_format(s).text);
    if (!dtype_is_float(x->type))
        fail(ERROR_DTYPE, "%s: x must be float32 or float64, not %s (convert it with :float())", name, dtype_name(x->type));
    for (int i = 0; i < 2; i++) {
        int64_t kernel = window[KERNEL_SIZE + i], stride = window[STRIDE + i], padding = window[PADDING + i];
        int64_t dilation = window[DILATION + i];
        if (kernel < 1 || stride < 1 || dilation < 1 || padding < 0)
            fail(ERROR_ARGUMENT, "%s: kernel, stride and dilation must be at least 1 and the padding at least 0", name);
        if (kernel > INT32_MAX || stride > INT32_MAX || dilation > INT32_MAX)
            fail(ERROR_ARGUMENT, "%s: a window beyond any image", name);
        if (2 * padding > kernel)
            fail(ERROR_ARGUMENT, "%s: the padding %lld is more than half of the kernel %lld", name, (long long)padding, (long long)kernel);
        int64_t padded = s.size[2 + i] + 2 * padding, span = dilation * (kernel - 1) + 1;
        int64_t count = window_count(s.size[2 + i], padding, span, stride, window[CEIL] != 0);
        if (count == 0 || s.size[2 + i] == 0)
            fail(ERROR_SHAPE, "%s: the window spans %lld pixels, but the image's %s with its padding is %lld", name,
                 (long long)span, i == 0 ? "height" : "width", (long long)padded);
        s.size[2 + i] = count;
    }
    return s;
}

static pooling pooling_of(const node *y, shape x, shape result) {
    pooling p = {.planes = x.size[0] * x.size[1]};
    for (int i = 0; i < 2; i++) {
        p.size[i] = x.size[2 + i];
        p.result[i] = result.size[2 + i];
        p.kernel[i] = y->attributes[KERNEL_SIZE + i];
        p.stride[i] = y->attributes[STRIDE + i];
        p.padding[i] = y->attributes[PADDING + i];
        p.dilation[i] = y->attributes[DILATION + i];
    }
    return p;
}

static void read_window(const char *name, const argument *a, int64_t *window) {
    static const char *const names[] = {"the kernel", "the stride", "the padding", "the dilation"};
    for (int k = 0; k < 4; k++) {
        if (a[k].given && a[k].count != 1 && a[k].count != 2)
            fail(ERROR_ARGUMENT, "%s: %s must be a number or {height, width}, not a list of %d", name, names[k], a[k].count);
        for (int i = 0; i < 2; i++)
            window[2 * k + i] = a[k].given ? a[k].list[i * (a[k].count - 1)] : k == 1 ? window[KERNEL_SIZE + i] : k == 3;
    }
    window[CEIL] = a[4].given && a[4].boolean;
}

static node *build_max_pool2d(const operator *op, const argument *a) {
    int64_t window[WINDOW_ATTRIBUTES];
    read_window(op->name, a + 1, window);
    return op_max_pool2d(a[0].tensor, window);
}
static node *build_max_pool2d_pick(const operator *op, const argument *a) {
    int64_t window[WINDOW_ATTRIBUTES];
    read_window(op->name, a + 2, window);
    return op_max_pool2d_pick(a[0].tensor, a[1].tensor, window);
}
static node *build_max_pool2d_put(const operator *op, const argument *a) {
    int64_t window[WINDOW_ATTRIBUTES];
    read_window(op->name, a + 2, window);
    return op_max_pool2d_put(a[0].tensor, a[1].tensor, window);
}

static void run_max_pool2d(const node *y, const operand *in, const operand *out) {
    pooling p = pooling_of(y, in[0].shape, out->shape);
    kernel_max_pick(out->type, &p, out->data, in[0].data, in[0].data);
}
static node *gradient_max_pool2d(node *y, node *g, int index) { return op_max_pool2d_put(y->inputs[index], g, y->attributes); }

static void run_max_pool2d_pick(const node *y, const operand *in, const operand *out) {
    pooling p = pooling_of(y, in[0].shape, out->shape);
    kernel_max_pick(out->type, &p, out->data, in[0].data, in[1].data);
}
static node *gradient_max_pool2d_pick(node *y, node *g, int index) {
    return index == 1 ? op_max_pool2d_put(y->inputs[0], g, y->attributes) : NULL;
}

static void run_max_pool2d_put(const node *y, const operand *in, const operand *out) {
    pooling p = pooling_of(y, in[0].shape, in[1].shape);
    kernel_max_put(out->type, &p, out->data, in[0].data, in[1].data);
}
static node *gradient_max_pool2d_put(node *y, node *g, int index) {
    return index == 1 ? op_max_pool2d_pick(y->inputs[0], g, y->attributes) : NULL;
}

/* Many values at once are more images. */
static node *batch_max_pool2d(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    node *whole[2];
    shape s = y->shape;
    for (int i = 0; i < y->input_count; i++) whole[i] = batch_join(inputs[i], mapped[i], size);
    s.size[0] *= size;
    node *images = node_new(y->op, y->type, s, y->input_count, whole, WINDOW_ATTRIBUTES, y->attributes);
    return op_reshape(images, batch_shape(size, y->shape));
}

OPERATOR(max_pool2d, .signature = "x, kernel:integers, stride:integers?, padding:integers?, dilation:integers?, ceil_mode:boolean?", .kind = KERNEL,
         .differentiable = true, .accepts = operand_is_contiguous, .build = build_max_pool2d, .run = run_max_pool2d,
         .gradient = gradient_max_pool2d, .batch = batch_max_pool2d,
         .samples = "x=randn(2,3,4,6) ; x:max_pool2d(2) ; s,c,i,j -> math.max(x(s,c,2*i-1,2*j-1), x(s,c,2*i-1,2*j), x(s,c,2*i,2*j-1), x(s,c,2*i,2*j))\n"
                    "x=randn(1,2,5,7) ; x:max_pool2d(2) ; s,c,i,j -> math.max(x(s,c,2*i-1,2*j-1), x(s,c,2*i-1,2*j), x(s,c,2*i,2*j-1), x(s,c,2*i,2*j))\n"
                    "x=randn(2,1,7,6) ; x:max_pool2d({3,2},{2,1},{1,0},{1,3}) ; s,c,i,j -> largest(x,s,c,{2*i-2,2*i-1,2*i},{j,j+3})\n"
                    "x=randn(1,2,5,4) ; x:max_pool2d(2,2,0,1,true) ; s,c,i,j -> largest(x,s,c,{2*i-1,2*i},{2*j-1,2*j})\n"
                    "x=randn(1,1,1,1) ; x:max_pool2d(1) ; s,c,i,j -> x(s,c,i,j)",
         .doc = "The largest element of each window of images x (n, channels, height, width). stride = kernel, padding = 0 (at most\n"
                "half of the kernel) and dilation = 1 are numbers or {height, width}; with ceil_mode a last window may reach beyond\n"
                "the image. The gradient goes to the first of equals (before the rounding of a bias that was added to x).")
OPERATOR(max_pool2d_pick, .signature = "x, values, kernel:integers, stride:integers?, padding:integers?, dilation:integers?, ceil_mode:boolean?",
         .kind = KERNEL, .differentiable = true, .accepts = operand_is_contiguous, .build = build_max_pool2d_pick,
         .run = run_max_pool2d_pick, .gradient = gradient_max_pool2d_pick, .batch = batch_max_pool2d,
         .samples = "v=randn(1,2,4,5) ; arange(1,40):cast(v:dtype()):reshape(1,2,4,5):max_pool2d_pick(v,2) ; s,c,i,j -> v(s,c,2*i,2*j)\n"
                    "v=randn(1,2,4,5) ; (-arange(1,40):cast(v:dtype()):reshape(1,2,4,5)):max_pool2d_pick(v,3,1,1) ; s,c,i,j -> v(s,c,math.max(i-1,1),math.max(j-1,1))",
         .doc = "From each window of x the element of `values` (x's shape) that stands where x is largest; see max_pool2d.")
OPERATOR(max_pool2d_put, .signature = "x, gradient, kernel:integers, stride:integers?, padding:integers?, dilation:integers?, ceil_mode:boolean?",
         .kind = KERNEL, .differentiable = true, .accepts = operand_is_contiguous, .build = build_max_pool2d_put,
         .run = run_max_pool2d_put, .gradient = gradient_max_pool2d_put, .batch = batch_max_pool2d,
         .samples = "g=randn(1,2,2,2) ; arange(1,40):cast(g:dtype()):reshape(1,2,4,5):max_pool2d_put(g,2) ; s,c,i,j -> i % 2 == 0 and j % 2 == 0 and g(s,c,i//2,j//2) or 0\n"
                    "g=randn(1,1,2,3) ; arange(1,20):cast(g:dtype()):reshape(1,1,4,5):max_pool2d_put(g,3,1) ; s,c,i,j -> i > 2 and j > 2 and g(s,c,i-2,j-2) or 0",
         .doc = "The adjoint of max_pool2d_pick: zeros of x's shape, to which the gradient of each window is added where x is largest.")

/* Is n the same number throughout each plane? */
static bool is_plane_constant(const node *n) {
    if (node_has_value(n) || !op_is(n, "expand")) return false;
    shape in = n->inputs[0]->shape;
    for (int k = 1; k <= 2 && k <= in.rank; k++)
        if (in.size[in.rank - k] != 1) return false;
    return true;
}

/* The maxima of x = f(z), where f never falls, are f of z's maxima: the same numbers, but f has fewer of them to do, and so has its
 * gradient. Such are a layer's bias and ReLU. NULL where x is something else. */
static node *pooled_before(node *x, const int64_t *window, shape result, int depth) {
    enum { DEEPEST = 4 };
    node *inputs[2] = {NULL};
    if (node_has_value(x) || depth == DEEPEST) return NULL;
    bool slope = op_is(x, "leaky_relu") && attribute_to_number(x->attributes[0]) >= 0, sum = op_is(x, "add");
    int constant = sum && is_plane_constant(x->inputs[0]) ? 0 : 1, varying = sum ? 1 - constant : 0;
    if (!(op_is(x, "relu") || slope || (sum && is_plane_constant(x->inputs[constant])))) return NULL;
    node *z = x->inputs[varying];
    inputs[varying] = pooled_before(z, window, result, depth + 1);
    if (inputs[varying] == NULL) inputs[varying] = node_new(&row_max_pool2d, z->type, result, 1, &z, WINDOW_ATTRIBUTES, window);
    if (sum) inputs[constant] = op_expand(x->inputs[constant]->inputs[0], result);
    return node_new(x->op, x->type, result, x->input_count, inputs, x->attribute_count, x->attributes);
}

node *op_max_pool2d(node *x, const int64_t *window) {
    shape result = pooled_shape("max_pool2d", x, window);
    bool fewer = shape_elements(result) < shape_elements(x->shape);
    node *y = fewer ? pooled_before(x, window, result, 0) : NULL;
    return y != NULL ? y : node_new(&row_max_pool2d, x->type, result, 1, &x, WINDOW_ATTRIBUTES, window);
}

static void check_partner(const char *name, const char *what, const node *x, const node *other, shape expected) {
    if (!shape_equal(other->shape, expected) || other->type != x->type)
        fail(ERROR_SHAPE, "%s: %s must be %s of shape %s, not %s of shape %s", name, what, dtype_name(x->type),
             shape_format(expected).text, dtype_name(other->type), shape_format(other->shape).text);
}

node *op_max_pool2d_pick(node *x, node *v, const int64_t *window) {
    node *inputs[2] = {x, v};
    shape result = pooled_shape("max_pool2d_pick", x, window);
    check_partner("max_pool2d_pick", "the values", x, v, x->shape);
    return node_new(&row_max_pool2d_pick, x->type, result, 2, inputs, WINDOW_ATTRIBUTES, window);
}

node *op_max_pool2d_put(node *x, node *g, const int64_t *window) {
    node *inputs[2] = {x, g};
    check_partner("max_pool2d_put", "the gradient", x, g, pooled_shape("max_pool2d_put", x, window));
    return node_new(&row_max_pool2d_put, x->type, x->shape, 2, inputs, WINDOW_ATTRIBUTES, window);
}
