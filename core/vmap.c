#include "vmap.h"

#include <string.h>

#include "batch.h"
#include "fail.h"
#include "memory.h"

/* Node n for all values, from images[] of its inputs (by number); NULL when none of them is mapped. */
static node *rebuild(node *n, node *const *images, int64_t size, node **inputs, bool *mapped) {
    bool any = false;
    for (int i = 0; i < n->input_count; i++) {
        node *image = images[n->inputs[i]->number];
        mapped[i] = image != NULL;
        inputs[i] = image != NULL ? image : n->inputs[i];
        any = any || mapped[i];
    }
    if (!any) return NULL;
    node *image = (n->op->batch != NULL ? n->op->batch : batch_in_turn)(n, inputs, mapped, size);
    if (n->weak) image->weak = true;
    return image;
}

static int most_inputs(const node_list *order) {
    int most = 1;
    for (int k = 0; k < order->count; k++)
        if (order->nodes[k]->input_count > most) most = order->nodes[k]->input_count;
    return most;
}

void vmap_rebuild(int64_t size, int count, node *const *placeholders, node *const *values, int result_count,
                  node *const *results, node **mapped) {
    static const char *what = "a function that is mapped";
    node_list *order = node_list_new();
    node_sort(order, results, result_count, false); /* a node with a value depends on no placeholder */
    size_t nodes = (size_t)order->count, most = (size_t)most_inputs(order);
    node **images = memory_scoped(nodes * sizeof *images, what), **inputs = memory_scoped(most * sizeof *inputs, what);
    bool *is_mapped = memory_scoped(most * sizeof *is_mapped, what);
    memset(images, 0, nodes * sizeof *images);
    for (int k = 0; k < count; k++)
        if (node_in_last_sort(placeholders[k])) images[placeholders[k]->number] = values[k];
    for (int k = 0; k < order->count; k++) {
        node *n = order->nodes[k];
        if (images[k] == NULL && n->inputs != NULL && !node_has_value(n))
            images[k] = rebuild(n, images, size, inputs, is_mapped);
    }
    for (int r = 0; r < result_count; r++) {
        node *image = images[results[r]->number];
        mapped[r] = batch_repeat(image != NULL ? image : results[r], image != NULL, size);
    }
}
