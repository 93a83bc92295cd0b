/* Convolutions of images: conv2d and its two adjoints, which are each other's derivatives. Inside the graph images are
 * (n, channels, height, width) and weights (filters, channels / groups, kernel height, kernel width). */
#include <string.h>

#include "batch.h"
#include "fail.h"
#include "kernel_conv.h"
#include "operators.h"

/* attributes, [window_attributes]: stride, padding and dilation as (height, width) pairs, then groups */
enum { STRIDE = 0, PADDING = 2, DILATION = 4, GROUPS = 6, WINDOW_ATTRIBUTES = 7 };

static convolution convolution_of(const node *y, shape x, shape w, shape result) {
    const int64_t *a = y->attributes;
    convolution c = {.samples = x.size[0], .groups = a[GROUPS], .channels = w.size[1], .filters = w.size[0] / a[GROUPS]};
    for (int i = 0; i < 2; i++) {
        c.size[i] = x.size[2 + i];
        c.kernel[i] = w.size[2 + i];
        c.result[i] = result.size[2 + i];
        c.stride[i] = a[STRIDE + i];
        c.padding[i] = a[PADDING + i];
        c.dilation[i] = a[DILATION + i];
    }
    return c;
}

/* --- checks ---------------------------------------------------------------------------------------------------------- */

static void check_images(const char *name, const char *what, const node *x) {
    if (x->shape.rank != 4)
        fail(ERROR_SHAPE, "%s: %s must be (n, channels, height, width), not of shape %s", name, what,
             shape_format(x->shape).text);
    if (!dtype_is_float(x->type))
        fail(ERROR_DTYPE, "%s: %s must be float32 or float64, not %s (convert it with :float())", name, what, dtype_name(x->type));
}

static void check_same_type(const char *name, const node *x, const node *w) {
    if (x->type != w->type)
        fail(ERROR_DTYPE, "%s: %s of shape %s with %s of shape %s", name, dtype_name(x->type), shape_format(x->shape).text,
             dtype_name(w->type), shape_format(w->shape).text);
}

static void check_window(const char *name, const int64_t *window) {
    static const struct { int place; int64_t least; const char *what; } rules[] = {
        {STRIDE, 1, "the stride"}, {PADDING, 0, "the padding"}, {DILATION, 1, "the dilation"}};
    for (int r = 0; r < 3; r++)
        for (int i = 0; i < 2; i++)
            if (window[rules[r].place + i] < rules[r].least || window[rules[r].place + i] > INT32_MAX)
                fail(ERROR_ARGUMENT, "%s: %s must be at least %lld and at most %d, not %lld", name, rules[r].what,
                     (long long)rules[r].least, INT32_MAX, (long long)window[rules[r].place + i]);
    if (window[GROUPS] < 1) fail(ERROR_ARGUMENT, "%s: groups must be at least 1, not %lld", name, (long long)window[GROUPS]);
}

/* The result's height (axis 0) or width (axis 1). */
static int64_t result_size(const char *name, int64_t size, int64_t kernel, const int64_t *window, int axis) {
    if (kernel < 1) fail(ERROR_SHAPE, "%s: a kernel without elements", name);
    if (kernel > INT32_MAX) fail(ERROR_SHAPE, "%s: a kernel of %lld pixels is beyond any image", name, (long long)kernel);
    int64_t padded = size + 2 * window[PADDING + axis], span = window[DILATION + axis] * (kernel - 1) + 1;
    if (span > padded)
        fail(ERROR_SHAPE, "%s: the kernel spans %lld pixels, but the image's %s with its padding is %lld", name, (long long)span,
             axis == 0 ? "height" : "width", (long long)padded);
    return (padded - span) / window[STRIDE + axis] + 1;
}

static void check_groups(const char *name, int64_t channels, shape w, int64_t groups) {
    bool too_many = groups > 1 && groups > channels && groups > w.size[0];
    if (too_many || channels % groups != 0 || channels / groups != w.size[1] || w.size[0] % groups != 0)
        fail(ERROR_SHAPE, "%s: %lld channels do not fit weights of shape %s (filters, channels / groups, ...) in %lld group%s",
             name, (long long)channels, shape_format(w).text, (long long)groups, groups == 1 ? "" : "s");
}

static shape conv_shape(const char *name, shape x, shape w, const int64_t *window) {
    check_groups(name, x.size[1], w, window[GROUPS]);
    shape y = {4, {x.size[0], w.size[0], 0, 0}};
    for (int i = 0; i < 2; i++) y.size[2 + i] = result_size(name, x.size[2 + i], w.size[2 + i], window, i);
    shape_elements(y);
    /* what kernels lay out in scratch: padded images with x's or y's channels, and a row of columns */
    int64_t planes = x.size[1] > w.size[0] ? x.size[1] : w.size[0];
    shape_elements((shape){3, {planes, x.size[2] + 2 * window[PADDING], x.size[3] + 2 * window[PADDING + 1]}});
    shape_elements((shape){4, {w.size[1], w.size[2], w.size[3], y.size[3]}});
    return y;
}

/* --- building -------------------------------------------------------------------------------------------------------- */

static void read_pair(const char *name, const char *what, const argument *a, int64_t preset, int64_t *pair) {
    if (a->given && a->count != 1 && a->count != 2)
        fail(ERROR_ARGUMENT, "%s: %s must be a number or {height, width}, not a list of %d", name, what, a->count);
    pair[0] = a->given ? a->list[0] : preset;
    pair[1] = a->given ? a->list[a->count - 1] : preset;
}

/* Arguments a[0 .. 3]: stride, padding, dilation, groups. */
static void read_window(const char *name, const argument *a, int64_t *window) {
    read_pair(name, "the stride", &a[0], 1, window + STRIDE);
    read_pair(name, "the padding", &a[1], 0, window + PADDING);
    read_pair(name, "the dilation", &a[2], 1, window + DILATION);
    window[GROUPS] = a[3].given ? a[3].integer : 1;
    check_window(name, window);
}

static node *build_conv2d(const operator *op, const argument *a) {
    int64_t window[WINDOW_ATTRIBUTES];
    read_window(op->name, a + 2, window);
    return op_conv2d(a[0].tensor, a[1].tensor, window);
}
static node *build_conv2d_input(const operator *op, const argument *a) {
    int64_t window[WINDOW_ATTRIBUTES], size[2];
    read_window(op->name, a + 3, window);
    read_pair(op->name, "the size", &a[2], 1, size);
    return op_conv2d_input(a[0].tensor, a[1].tensor, size, window);
}
static node *build_conv2d_weight(const operator *op, const argument *a) {
    int64_t window[WINDOW_ATTRIBUTES], kernel[2];
    read_window(op->name, a + 3, window);
    read_pair(op->name, "the kernel", &a[2], 1, kernel);
    return op_conv2d_weight(a[0].tensor, a[1].tensor, kernel, window);
}

/* --- the triple ------------------------------------------------------------------------------------------------------ */

static void run_conv2d(const node *y, const operand *in, const operand *out) {
    convolution c = convolution_of(y, in[0].shape, in[1].shape, out->shape);
    kernel_conv(out->type, &c, out->data, in[0].data, in[1].data, in[2].data);
}
static size_t scratch_conv2d(const node *y, const operand *in) {
    convolution c = convolution_of(y, in[0].shape, in[1].shape, y->shape);
    return kernel_conv_scratch(y->type, &c);
}
static node *gradient_conv2d(node *y, node *g, int index) {
    node *x = y->inputs[0], *w = y->inputs[1];
    return index == 0 ? op_conv2d_input(g, w, x->shape.size + 2, y->attributes)
                      : op_conv2d_weight(x, g, w->shape.size + 2, y->attributes);
}

static void run_conv2d_input(const node *x, const operand *in, const operand *out) {
    convolution c = convolution_of(x, out->shape, in[1].shape, in[0].shape);
    kernel_conv_input(out->type, &c, out->data, in[0].data, in[1].data, in[2].data);
}
static size_t scratch_conv2d_input(const node *x, const operand *in) {
    convolution c = convolution_of(x, x->shape, in[1].shape, in[0].shape);
    return kernel_conv_scratch(x->type, &c);
}
static node *gradient_conv2d_input(node *x, node *g, int index) {
    node *y = x->inputs[0], *w = x->inputs[1];
    return index == 0 ? op_conv2d(g, w, x->attributes) : op_conv2d_weight(g, y, w->shape.size + 2, x->attributes);
}

static void run_conv2d_weight(const node *w, const operand *in, const operand *out) {
    convolution c = convolution_of(w, in[0].shape, out->shape, in[1].shape);
    kernel_conv_weight(out->type, &c, out->data, in[0].data, in[1].data, in[2].data);
}
static size_t scratch_conv2d_weight(const node *w, const operand *in) {
    convolution c = convolution_of(w, in[0].shape, w->shape, in[1].shape);
    return kernel_conv_scratch(w->type, &c);
}
static node *gradient_conv2d_weight(node *w, node *g, int index) {
    node *x = w->inputs[0], *y = w->inputs[1];
    return index == 0 ? op_conv2d_input(y, g, x->shape.size + 2, w->attributes) : op_conv2d(x, g, w->attributes);
}

/* --- many at once ---------------------------------------------------------------------------------------------------- */

/* Images that meet the same weights are more images. Weights of their own are more groups: images (size, n, channels, ...)
 * become (n, size * channels, ...), weights (size, filters, ...) become (size * filters, ...). */
static node *images_as_groups(node *x, bool mapped, int64_t size) {
    node *t = op_transpose(batch_repeat(x, mapped, size), 0, 1);
    shape s = shape_drop_axis(t->shape, 1);
    s.size[1] *= size;
    return op_reshape(t, s);
}
static node *images_from_groups(node *t, const node *y, int64_t size) {
    shape s = batch_shape(y->shape.size[0], y->shape);
    s.size[1] = size;
    return op_transpose(op_reshape(t, s), 0, 1);
}
static void window_of_groups(const node *y, int64_t size, int64_t *window) {
    memcpy(window, y->attributes, WINDOW_ATTRIBUTES * sizeof *window);
    window[GROUPS] *= size;
}

static node *batch_conv2d(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    int64_t window[WINDOW_ATTRIBUTES];
    shape s = batch_shape(size, y->shape);
    if (size == 0) return op_full(s, y->type, 0);
    if (!mapped[1]) return op_reshape(op_conv2d(batch_join(inputs[0], true, size), inputs[1], y->attributes), s);
    window_of_groups(y, size, window);
    node *t = op_conv2d(images_as_groups(inputs[0], mapped[0], size), batch_join(inputs[1], true, size), window);
    return images_from_groups(t, y, size);
}
static node *batch_conv2d_input(node *x, node *const *inputs, const bool *mapped, int64_t size) {
    int64_t window[WINDOW_ATTRIBUTES], *pixels = x->shape.size + 2;
    shape s = batch_shape(size, x->shape);
    if (size == 0) return op_full(s, x->type, 0);
    if (!mapped[1])
        return op_reshape(op_conv2d_input(batch_join(inputs[0], true, size), inputs[1], pixels, x->attributes), s);
    window_of_groups(x, size, window);
    node *g = images_as_groups(inputs[0], mapped[0], size), *w = batch_join(inputs[1], true, size);
    return images_from_groups(op_conv2d_input(g, w, pixels, window), x, size);
}
static node *batch_conv2d_weight(node *w, node *const *inputs, const bool *mapped, int64_t size) {
    int64_t window[WINDOW_ATTRIBUTES];
    shape s = batch_shape(size, w->shape);
    if (size == 0) return op_full(s, w->type, 0);
    window_of_groups(w, size, window);
    node *x = images_as_groups(inputs[0], mapped[0], size), *g = images_as_groups(inputs[1], mapped[1], size);
    return op_reshape(op_conv2d_weight(x, g, w->shape.size + 2, window), s);
}

/* --- the rows -------------------------------------------------------------------------------------------------------- */

/* Element (s, f, i, j) of the result sees x[s, c, place(i, p), place(j, q)] through w[f, c, p, q]. */
OPERATOR(conv2d, .signature = "x, weight, stride:integers?, padding:integers?, dilation:integers?, groups:integer?",
         .kind = KERNEL, .differentiable = true, .accepts = operand_is_contiguous, .build = build_conv2d,
         .run = run_conv2d, .scratch = scratch_conv2d, .gradient = gradient_conv2d, .batch = batch_conv2d,
         .samples = "x=randn(2,3,4,5), y=randn(4,3,3,3) ; x:conv2d(y) ; s,f,i,j -> conv(x,y,{C=3,F=4,k={3,3}},s,f,i,j)\n"
                    "x=randn(2,1,5,4), y=randn(2,1,3,3) ; x:conv2d(y,1,1) ; s,f,i,j -> conv(x,y,{C=1,F=2,k={3,3},p={1,1}},s,f,i,j)\n"
                    "x=randn(1,2,7,5), y=randn(3,2,3,2) ; x:conv2d(y,{2,1},{1,0},{1,2}) ; s,f,i,j -> conv(x,y,{C=2,F=3,k={3,2},s={2,1},p={1,0},d={1,2}},s,f,i,j)\n"
                    "x=randn(2,4,3,3), y=randn(6,2,2,3) ; x:conv2d(y,1,{1,2},{2,1},2) ; s,f,i,j -> conv(x,y,{C=2,F=3,k={2,3},p={1,2},d={2,1}},s,f,i,j)\n"
                    "x=randn(1,4,5,6), y=randn(4,1,3,3) ; x:conv2d(y,2,1,1,4) ; s,f,i,j -> conv(x,y,{C=1,F=1,k={3,3},s={2,2},p={1,1}},s,f,i,j)\n"
                    "x=randn(1,1,1,1), y=randn(1,1,1,1) ; x:conv2d(y) ; s,f,i,j -> conv(x,y,{C=1,F=1,k={1,1}},s,f,i,j)\n"
                    "x=randn(1,2,1,1), y=randn(2,2,2,2) ; x:conv2d(y,1,2) ; s,f,i,j -> conv(x,y,{C=2,F=2,k={2,2},p={2,2}},s,f,i,j)",
         .doc = "The convolution (cross-correlation) of images x (n, channels, height, width) with weights (filters,\n"
                "channels / groups, kernel height, kernel width): (n, filters, h', w') with\n"
                "h' = (height + 2 padding - dilation (kernel - 1) - 1) // stride + 1. stride = 1, padding = 0 and\n"
                "dilation = 1 are numbers or {height, width}; groups = 1 cuts channels and filters into parts that do not mix.\n"
                "In float32, kernels of 3 x 3 with stride 1 and 16 or more channels and filters go by Winograd's method: a quarter\n"
                "of the multiplications, at a rounding error of 1e-6 of the largest pixels within 5 of a result, whether or not it\n"
                "depends on them; so does one that is not finite spoil results beside its own.")
OPERATOR(conv2d_input, .signature = "gradient, weight, size:integers, stride:integers?, padding:integers?, dilation:integers?, groups:integer?",
         .kind = KERNEL, .differentiable = true, .accepts = operand_is_contiguous, .build = build_conv2d_input,
         .run = run_conv2d_input, .scratch = scratch_conv2d_input, .gradient = gradient_conv2d_input, .batch = batch_conv2d_input,
         .samples = "x=randn(2,4,3,4), y=randn(4,2,3,3) ; x:conv2d_input(y,{5,6}) ; s,c,i,j -> conv_input(x,y,{C=2,F=4,k={3,3}},s,c,i,j)\n"
                    "x=randn(1,2,4,3), y=randn(2,1,3,3) ; x:conv2d_input(y,{4,3},1,1) ; s,c,i,j -> conv_input(x,y,{C=1,F=2,k={3,3},p={1,1}},s,c,i,j)\n"
                    "x=randn(1,3,3,3), y=randn(3,2,3,2) ; x:conv2d_input(y,{6,5},{2,1},{1,0},{1,2}) ; s,c,i,j -> conv_input(x,y,{C=2,F=3,k={3,2},s={2,1},p={1,0},d={1,2}},s,c,i,j)\n"
                    "x=randn(1,6,3,5), y=randn(6,2,2,3) ; x:conv2d_input(y,{3,3},1,{1,2},{2,1},2) ; s,c,i,j -> conv_input(x,y,{C=2,F=3,k={2,3},p={1,2},d={2,1}},s,c,i,j)",
         .doc = "conv2d's adjoint in x, the transposed convolution: what images of the given size {height, width} get from a\n"
                "gradient of the result's shape.")
OPERATOR(conv2d_weight, .signature = "x, gradient, kernel:integers, stride:integers?, padding:integers?, dilation:integers?, groups:integer?",
         .kind = KERNEL, .differentiable = true, .accepts = operand_is_contiguous, .build = build_conv2d_weight,
         .run = run_conv2d_weight, .scratch = scratch_conv2d_weight, .gradient = gradient_conv2d_weight, .batch = batch_conv2d_weight,
         .samples = "x=randn(2,3,4,5), y=randn(2,5,2,3) ; x:conv2d_weight(y,3) ; f,c,p,q -> conv_weight(x,y,{C=3,F=5,n=2,r={2,3}},f,c,p,q)\n"
                    "x=randn(3,1,4,3), y=randn(3,2,4,3) ; x:conv2d_weight(y,3,1,1) ; f,c,p,q -> conv_weight(x,y,{C=1,F=2,p={1,1},n=3,r={4,3}},f,c,p,q)\n"
                    "x=randn(1,2,7,5), y=randn(1,3,4,3) ; x:conv2d_weight(y,{3,2},{2,1},{1,0},{1,2}) ; f,c,p,q -> conv_weight(x,y,{C=2,F=3,s={2,1},p={1,0},d={1,2},n=1,r={4,3}},f,c,p,q)\n"
                    "x=randn(2,4,3,3), y=randn(2,6,3,5) ; x:conv2d_weight(y,{2,3},1,{1,2},{2,1},2) ; f,c,p,q -> conv_weight(x,y,{C=2,F=3,p={1,2},d={2,1},n=2,r={3,5}},f,c,p,q)",
         .doc = "conv2d's adjoint in its weights: what a kernel of the given size {height, width} gets from x and a gradient of\n"
                "the result's shape.")

node *op_conv2d(node *x, node *w, const int64_t *window) {
    node *inputs[2] = {x, w};
    check_images("conv2d", "x", x);
    check_images("conv2d", "the weights", w);
    check_same_type("conv2d", x, w);
    return node_new(&row_conv2d, x->type, conv_shape("conv2d", x->shape, w->shape, window), 2, inputs, WINDOW_ATTRIBUTES, window);
}

static void check_result(const char *name, const node *g, shape expected) {
    if (!shape_equal(g->shape, expected))
        fail(ERROR_SHAPE, "%s: a gradient of shape %s does not fit; conv2d's result has shape %s", name,
             shape_format(g->shape).text, shape_format(expected).text);
}

node *op_conv2d_input(node *g, node *w, const int64_t *size, const int64_t *window) {
    node *inputs[2] = {g, w};
    check_images("conv2d_input", "the gradient", g);
    check_images("conv2d_input", "the weights", w);
    check_same_type("conv2d_input", g, w);
    shape x = {4, {g->shape.size[0], w->shape.size[1] * window[GROUPS], size[0], size[1]}};
    shape_elements(x);
    check_result("conv2d_input", g, conv_shape("conv2d_input", x, w->shape, window));
    return node_new(&row_conv2d_input, g->type, x, 2, inputs, WINDOW_ATTRIBUTES, window);
}

node *op_conv2d_weight(node *x, node *g, const int64_t *kernel, const int64_t *window) {
    node *inputs[2] = {x, g};
    check_images("conv2d_weight", "x", x);
    check_images("conv2d_weight", "the gradient", g);
    check_same_type("conv2d_weight", x, g);
    shape w = {4, {g->shape.size[1], x->shape.size[1] / window[GROUPS], kernel[0], kernel[1]}};
    shape_elements(w);
    check_result("conv2d_weight", g, conv_shape("conv2d_weight", x->shape, w, window));
    return node_new(&row_conv2d_weight, x->type, w, 2, inputs, WINDOW_ATTRIBUTES, window);
}
