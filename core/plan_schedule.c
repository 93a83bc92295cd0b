/* The second half of planning: units are put in order, values get their memory, and the instructions are written. */
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "memory.h"
#include "plan_blocks.h"

/* --- order ------------------------------------------------------------------------------------------------------------ */

static int root_unit(const plan_graph *g, const item *i) { return g->items[i->root].unit; }

/* Depth-first from the outputs, without recursion: `stack` holds units, opened ones as -(unit + 1). A unit's position
 * is -2 while it is open. */
static void schedule_from(plan_graph *g, int start, int *stack, int *scheduled) {
    int top = 0;
    if (start < 0 || g->units[start].position != -1) return;
    stack[top++] = start;
    while (top > 0) {
        int u = stack[--top];
        if (u < 0) {
            u = -(u + 1);
            g->units[u].position = *scheduled;
            g->schedule[(*scheduled)++] = u;
            continue;
        }
        if (g->units[u].position != -1) continue;
        g->units[u].position = -2;
        stack[top++] = -(u + 1);
        for (int m = g->units[u].member_count - 1; m >= 0; m--) {
            const item *i = &g->items[g->members[g->units[u].member_begin + m]];
            for (int k = i->input_count - 1; k >= 0; k--) {
                int needed = root_unit(g, item_input(g, i, k));
                if (needed >= 0 && g->units[needed].position == -1) stack[top++] = needed;
            }
        }
    }
}

static void order_units(plan_graph *g) {
    int scheduled = 0;
    /* one entry per edge at most, and one per opened unit */
    int *stack = memory_scoped((size_t)(g->input_capacity + g->item_capacity + 1) * sizeof *stack, "a plan");
    for (int o = 0; o < g->output_count; o++)
        schedule_from(g, root_unit(g, &g->items[g->outputs[o]]), stack, &scheduled);
    g->unit_count = scheduled; /* units that only dead copies would have needed are never reached */
}

/* --- which values need memory ----------------------------------------------------------------------------------------- */

static void find_stored(plan_graph *g) {
    for (int at = 0; at < g->unit_count; at++) {
        const unit *u = &g->units[g->schedule[at]];
        for (int m = 0; m < u->member_count; m++) {
            const item *i = &g->items[g->members[u->member_begin + m]];
            if (!u->fused) g->items[i->root].stored = true;
            if (i->scratch >= 0) g->items[i->scratch].stored = true;
            for (int k = 0; k < i->input_count; k++) {
                const item *in = item_input(g, i, k);
                bool within = in->unit == i->unit; /* a step of the same pass */
                if (!within) g->items[in->root].stored = true;
            }
        }
    }
    for (int o = 0; o < g->output_count; o++) g->items[g->items[g->outputs[o]].root].stored = true;
}

/* A concat's inputs may be computed right where they belong: those that fill memory of their own from front to back
 * while the concat is along the first axis. */
static void place_concat_inputs(plan_graph *g) {
    for (int k = 0; k < g->item_count; k++) {
        const item *c = &g->items[k];
        if (c->unit < 0 || g->units[c->unit].position < 0 || !is_called(c, "concat")) continue;
        int64_t offset = 0;
        if (c->call->attributes[0] != 0) continue;
        for (int input = 0; input < c->input_count; offset += shape_elements(item_input(g, c, input)->shape), input++) {
            const item *in = item_input(g, c, input);
            item *root = &g->items[in->root];
            bool whole = in->look.offset == 0 && operand_is_contiguous(&in->look) &&
                         shape_elements(in->shape) == shape_elements(root->shape);
            bool free_to_move = root->leaf < 0 && !root->wanted && root->storage == -1 && root != c;
            for (int o = 0; o < g->output_count; o++)
                if (g->items[g->outputs[o]].root == in->root) free_to_move = false;
            if (!whole || !free_to_move) continue;
            root->storage = k + g->item_capacity; /* for now: lies in item k */
            root->storage_offset = offset;
        }
    }
}

/* --- storages --------------------------------------------------------------------------------------------------------- */

typedef struct {
    int begin, end; /* schedule positions of the first write and the last read */
    size_t offset, bytes;
} lifetime;

/* The item in whose memory a root finally lies, and where. */
static const item *final_home(const plan_graph *g, const item *root, int64_t *offset) {
    *offset = 0;
    while (root->storage >= g->item_capacity) {
        *offset += root->storage_offset;
        root = &g->items[root->storage - g->item_capacity];
    }
    return root;
}

static void extend(lifetime *l, int position) {
    if (l->begin < 0 || position < l->begin) l->begin = position;
    if (position > l->end) l->end = position;
}

static void find_lifetimes(const plan_graph *g, lifetime *lives) {
    int64_t offset;
    for (int k = 0; k < g->item_count; k++) lives[k] = (lifetime){-1, -1, 0, 0};
    for (int at = 0; at < g->unit_count; at++) {
        const unit *u = &g->units[g->schedule[at]];
        for (int m = 0; m < u->member_count; m++) {
            const item *i = &g->items[g->members[u->member_begin + m]];
            extend(&lives[final_home(g, &g->items[i->root], &offset) - g->items], at);
            if (i->scratch >= 0) extend(&lives[i->scratch], at);
            for (int k = 0; k < i->input_count; k++)
                extend(&lives[final_home(g, &g->items[item_input(g, i, k)->root], &offset) - g->items], at);
        }
    }
}

/* The lowest place that none of the values placed so far occupies at the same time. */
static size_t find_room(lifetime *const *placed, int placed_count, const lifetime *wanted) {
    size_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int p = 0; p < placed_count; p++) {
            const lifetime *other = placed[p];
            bool together = other->begin <= wanted->end && wanted->begin <= other->end;
            bool overlap = other->offset < offset + wanted->bytes && offset < other->offset + other->bytes;
            if (together && overlap) offset = other->offset + other->bytes, moved = true;
        }
    }
    return offset;
}

/* May output o be written over leaf d? Only when it is made by the last reader of the leaf, in a pass that reads it
 * element by element, when nothing later can fail, and when no output shows the leaf. */
static bool can_donate(const plan_graph *g, int o, int d, const lifetime *lives) {
    const item *out = &g->items[g->outputs[o]], *leaf = NULL;
    for (int k = 0; k < g->item_count && leaf == NULL; k++)
        if (g->items[k].leaf == d) leaf = &g->items[k];
    if (leaf == NULL || leaf->type != out->type || shape_elements(leaf->shape) != shape_elements(out->shape)) return false;
    if (!is_elementwise(out) || !operand_is_contiguous(&leaf->look)) return false;
    int position = g->units[out->unit].position;
    if (lives[leaf - g->items].end > position) return false;
    const unit *u = &g->units[out->unit];
    for (int m = 0; m < u->member_count; m++) {
        const item *i = &g->items[g->members[u->member_begin + m]];
        for (int k = 0; k < i->input_count; k++) {
            const item *in = item_input(g, i, k);
            if (&g->items[in->root] == leaf && (in->look.offset != 0 || !operand_is_contiguous(&in->look))) return false;
        }
    }
    for (int at = position + 1; at < g->unit_count; at++) {
        const unit *later = &g->units[g->schedule[at]];
        if (!later->fused && g->items[g->members[later->member_begin]].op->checks_values) return false;
    }
    for (int other = 0; other < g->output_count; other++)
        if (&g->items[g->items[g->outputs[other]].root] == leaf) return false;
    return true;
}

static void place_kept(plan_graph *g, plan *p, const lifetime *lives) {
    for (int o = 0; o < g->output_count; o++) {
        item *root = &g->items[g->items[g->outputs[o]].root];
        if (root->leaf >= 0 || root->storage >= 0) continue;
        int donor = g->donors[o];
        if (donor >= 0 && (root != &g->items[g->outputs[o]] || !can_donate(g, o, donor, lives))) donor = -1;
        for (int k = 0; k < p->kept_count; k++)
            if (p->kept[k].donor == donor) donor = -1;
        root->storage = p->storage_count;
        p->storages[p->storage_count++] = (storage){HOME_KEPT, p->kept_count};
        p->kept[p->kept_count++] = (kept_array){root->type, root->shape, donor};
    }
}

/* Does the operand lie in memory as results of the shape and layout of `like` do? */
static bool same_order(const operand *a, const operand *like) {
    for (int axis = 0; axis < a->shape.rank; axis++)
        if (a->shape.size[axis] != like->shape.size[axis] || (a->shape.size[axis] != 1 && a->strides[axis] != like->strides[axis]))
            return false;
    return true;
}

/* Does the unit read the memory of `home` only as a whole, in the order in which it writes? */
static bool reads_in_order(const plan_graph *g, const unit *u, const item *home) {
    int64_t offset;
    for (int m = 0; m < u->member_count; m++) {
        const item *i = &g->items[g->members[u->member_begin + m]];
        for (int k = 0; k < i->input_count; k++) {
            const item *in = item_input(g, i, k);
            if (final_home(g, &g->items[in->root], &offset) != home) continue;
            if (in->look.offset != 0 || offset != 0 || !same_order(&in->look, &i->look) ||
                shape_elements(in->shape) != shape_elements(home->shape))
                return false;
        }
    }
    return true;
}

/* May item i, a member of the unit at this position, be written over its input `in`? */
static bool can_overwrite(const plan_graph *g, const item *i, const item *in, int position, const lifetime *lives) {
    int64_t offset;
    const item *root = &g->items[in->root], *home = final_home(g, root, &offset);
    if (root->unit == i->unit || root->leaf >= 0 || home->storage != -1) return false;
    if (root->storage != -1 && !root->in_place) return false;
    if (home->type != i->type || shape_elements(home->shape) != shape_elements(i->shape)) return false;
    return lives[home - g->items].end == position && home->overwritten_at != position &&
           reads_in_order(g, &g->units[i->unit], home);
}

/* Elementwise results take the place of inputs that nobody reads later: less memory, and fewer cache lines touched. */
static void overwrite_inputs(plan_graph *g, lifetime *lives) {
    int64_t offset;
    for (int at = 0; at < g->unit_count; at++) {
        const unit *u = &g->units[g->schedule[at]];
        for (int m = 0; u->fused && m < u->member_count; m++) {
            item *i = &g->items[g->members[u->member_begin + m]];
            if (!i->stored || i->storage != -1) continue;
            for (int k = 0; k < i->input_count && !i->in_place; k++) {
                const item *in = item_input(g, i, k);
                if (!can_overwrite(g, i, in, at, lives)) continue;
                item *home = &g->items[final_home(g, &g->items[in->root], &offset) - g->items];
                i->in_place = true;
                i->storage = (int)(home - g->items) + g->item_capacity; /* lies in that item, from its first element on */
                home->overwritten_at = at;
                extend(&lives[home - g->items], lives[i - g->items].end);
            }
        }
    }
}

static int larger_first(const void *a, const void *b) {
    const lifetime *one = *(lifetime *const *)a, *other = *(lifetime *const *)b;
    if (one->bytes != other->bytes) return one->bytes < other->bytes ? 1 : -1;
    return one < other ? -1 : 1;
}

/* Large values get their places first, and small ones the room that is left between them. */
static void place_scratch(plan_graph *g, plan *p, lifetime *lives, lifetime **placed) {
    int count = 0;
    for (int k = 0; k < g->item_count; k++) {
        item *root = &g->items[k];
        if (root->root != k || root->storage >= 0 || (root->leaf < 0 && lives[k].begin < 0)) continue;
        root->storage = p->storage_count++;
        if (root->leaf >= 0) {
            p->storages[root->storage] = (storage){HOME_LEAF, root->leaf};
            continue;
        }
        if (!root->stored) { /* lives in a register: the storage is never used */
            p->storages[root->storage] = (storage){HOME_SCRATCH, 0};
            continue;
        }
        lives[k].bytes = ((size_t)shape_elements(root->shape) * dtype_bytes(root->type) + 63) / 64 * 64;
        placed[count++] = &lives[k];
    }
    qsort(placed, (size_t)count, sizeof *placed, larger_first);
    for (int k = 0; k < count; k++) {
        placed[k]->offset = find_room(placed, k, placed[k]);
        p->storages[g->items[placed[k] - lives].storage] = (storage){HOME_SCRATCH, (int64_t)placed[k]->offset};
        if (placed[k]->offset + placed[k]->bytes > p->scratch_bytes) p->scratch_bytes = placed[k]->offset + placed[k]->bytes;
    }
}

/* --- instructions ----------------------------------------------------------------------------------------------------- */

static void operand_add(const plan_graph *g, plan *p, const item *i) {
    int64_t offset;
    const item *home = final_home(g, &g->items[i->root], &offset);
    operand *o = &p->operands[p->operand_count];
    *o = i->look;
    o->type = i->type;
    o->shape = i->shape;
    o->offset += offset;
    p->operand_storages[p->operand_count++] = home->storage;
}

/* Has everything that a concat joins been computed where it belongs? */
static bool is_in_place(const plan_graph *g, const item *i) {
    int64_t offset, place;
    if (!is_called(i, "concat")) return false;
    const item *home = final_home(g, i, &offset);
    for (int k = 0; k < i->input_count; k++) {
        const item *in = item_input(g, i, k);
        if (final_home(g, &g->items[in->root], &place) != home || place + in->look.offset != offset) return false;
        if (!operand_is_contiguous(&in->look)) return false;
        offset += shape_elements(in->shape);
    }
    return true;
}

static void write_kernel(const plan_graph *g, plan *p, const unit *u) {
    const item *i = &g->items[g->members[u->member_begin]];
    if (is_in_place(g, i)) return;
    instruction *now = &p->instructions[p->instruction_count++];
    *now = (instruction){.call = i->call, .run = i->run, .operand_begin = p->operand_count};
    for (int k = 0; k < i->input_count; k++) operand_add(g, p, item_input(g, i, k));
    if (i->scratch >= 0) operand_add(g, p, &g->items[i->scratch]);
    operand_add(g, p, i);
    now->operand_count = p->operand_count - now->operand_begin;
}

/* A fused pass being written: where each member and each value from outside is found. */
typedef struct {
    const plan_graph *graph;
    plan *plan;
    const unit *unit;
    int number; /* of the unit */
    fused *program;
    int places[FUSED_MAX_STEPS];    /* of members */
    int last_use[FUSED_MAX_STEPS];  /* the member that reads it last; FUSED_MAX_STEPS: a delayed store */
    int outside[FUSED_MAX_REGISTERS]; /* by operand: the item */
    unsigned char free_registers[FUSED_MAX_REGISTERS];
    int free_count;
} fusion;

static int member_index(const fusion *f, const item *i) {
    if (i->unit != f->number) return -1;
    for (int m = 0; m < f->unit->member_count; m++)
        if (&f->graph->items[f->graph->members[f->unit->member_begin + m]] == i) return m;
    return -1;
}

static const item *member(const fusion *f, int m) { return &f->graph->items[f->graph->members[f->unit->member_begin + m]]; }

static int operand_number(fusion *f, const item *i) {
    int number = (int)(i - f->graph->items);
    for (int k = 0; k < f->program->operand_count; k++)
        if (f->outside[k] == number) return k;
    f->outside[f->program->operand_count] = number;
    operand_add(f->graph, f->plan, i);
    return f->program->operand_count++;
}

/* The storage that member m is written over: that of a leaf it takes from, or of an input that it replaces; or -1. */
static int overwritten_storage(const fusion *f, const item *i) {
    int64_t offset;
    if (!i->stored) return -1;
    if (i->in_place) return final_home(f->graph, i, &offset)->storage;
    const storage *s = i->storage >= 0 && i->storage < f->graph->item_capacity ? &f->plan->storages[i->storage] : NULL;
    int donor = s != NULL && s->home == HOME_KEPT ? f->plan->kept[s->place].donor : -1;
    for (int k = 0; donor >= 0 && k < f->graph->item_count; k++)
        if (f->graph->items[k].leaf == donor) return f->graph->items[k].storage;
    return -1;
}

/* A member that overwrites what a later one reads is stored when all have read. */
static bool is_delayed(const fusion *f, int m) {
    int64_t offset;
    int overwritten = overwritten_storage(f, member(f, m));
    for (int later = m + 1; overwritten >= 0 && later < f->unit->member_count; later++) {
        const item *i = member(f, later);
        for (int k = 0; k < i->input_count; k++) {
            const item *root = &f->graph->items[item_input(f->graph, i, k)->root];
            if (root->unit != f->number && final_home(f->graph, root, &offset)->storage == overwritten) return true;
        }
    }
    return false;
}

/* Operands: what comes from outside, then what goes to memory; and when each member is read last. */
static void collect_operands(fusion *f) {
    for (int m = 0; m < f->unit->member_count; m++) {
        const item *i = member(f, m);
        f->last_use[m] = is_delayed(f, m) ? FUSED_MAX_STEPS : m;
        for (int k = 0; k < i->input_count; k++) {
            int source = member_index(f, item_input(f->graph, i, k));
            if (source < 0) operand_number(f, item_input(f->graph, i, k));
            else if (f->last_use[source] < m) f->last_use[source] = m;
        }
    }
    for (int m = 0; m < f->unit->member_count; m++)
        if (member(f, m)->stored) operand_number(f, member(f, m));
}

/* Loaded operands keep a register each; the others are handed out and taken back as values live and die. */
static void assign_registers(fusion *f) {
    int next = 0;
    for (int k = 0; k < f->program->operand_count; k++)
        if (f->program->loads[k] >= LOAD_ONCE) f->program->registers[k] = next++;
    for (int r = FUSED_MAX_REGISTERS - 1; r >= next; r--) f->free_registers[f->free_count++] = (unsigned char)r;
    for (int m = 0; m < f->unit->member_count; m++) {
        const item *i = member(f, m);
        bool in_memory = i->stored && !is_delayed(f, m);
        f->places[m] = in_memory ? fused_operand(operand_number(f, i)) : f->free_registers[--f->free_count];
        for (int old = 0; old <= m; old++)
            if (f->last_use[old] == m && f->places[old] >= 0) {
                f->free_registers[f->free_count++] = (unsigned char)f->places[old];
                f->last_use[old] = -1;
            }
    }
}

/* Does member m divide bytes that no other reads? */
static bool divides_bytes(const fusion *f, int m) {
    const item *i = member(f, m), *x = item_input(f->graph, i, 0);
    int readers = 0;
    if (!is_called(i, "div") || x->type != UINT8) return false;
    for (int other = 0; other < f->unit->member_count; other++)
        for (int k = 0; k < member(f, other)->input_count; k++) readers += item_input(f->graph, member(f, other), k) == x;
    return readers == 1;
}

static void write_steps(fusion *f) {
    fused *program = f->program;
    for (int m = 0; m < f->unit->member_count; m++) {
        const item *i = member(f, m);
        fused_step *step = &program->steps[program->step_count++];
        *step = (fused_step){.kernel = i->op->kernels[i->type], .result = f->places[m], .input_count = i->input_count};
        if (i->call->attribute_count > 0) step->p = attribute_to_number(i->call->attributes[0]);
        if (i->call->attribute_count > 1) step->q = attribute_to_number(i->call->attributes[1]);
        for (int k = 0; k < i->input_count; k++) {
            const item *in = item_input(f->graph, i, k);
            int source = member_index(f, in);
            step->inputs[k] = source >= 0 ? f->places[source] : fused_operand(operand_number(f, in));
        }
        if (divides_bytes(f, m)) fused_divide_bytes(program, step);
    }
    for (int m = 0; m < f->unit->member_count; m++)
        if (is_delayed(f, m))
            program->steps[program->step_count++] =
                (fused_step){.result = fused_operand(operand_number(f, member(f, m))), .input_count = 1, .inputs = {f->places[m]}};
}

static void write_fused(const plan_graph *g, plan *p, const unit *u) {
    static const size_t CACHES = (size_t)8 << 20; /* what else a run works on drives everything out of them */
    instruction *now = &p->instructions[p->instruction_count++];
    *now = (instruction){.operand_begin = p->operand_count};
    now->program = memory_allocate(sizeof *now->program, "a plan");
    fusion f = {.graph = g, .plan = p, .unit = u, .number = (int)(u - g->units), .program = now->program};
    const item *first = &g->items[g->members[u->member_begin]];
    *now->program = (fused){.type = first->type, .count = shape_elements(first->shape),
                             .from_afar = p->scratch_bytes > CACHES};
    collect_operands(&f);
    for (int k = now->operand_begin; !operand_is_contiguous(&first->look) && k < p->operand_count; k++)
        operand_rotate(&p->operands[k]); /* what lies columnwise is run through as if it were row-major */
    fused_choose_loads(f.program, p->operands + now->operand_begin);
    assign_registers(&f);
    write_steps(&f);
    fused_join_products(f.program);
    fused_take_columns(f.program, p->operands + now->operand_begin);
    now->operand_count = p->operand_count - now->operand_begin;
}

/* --- the plan ----------------------------------------------------------------------------------------------------------- */

static void scoped_release(void *object) { plan_release(object); }

static plan *plan_new(const plan_graph *g) {
    static const char *what = "a plan";
    scope_reserve();
    plan *p = memory_allocate(sizeof *p, what);
    memset(p, 0, sizeof *p);
    p->references = 1;
    scope_add(p, scoped_release);
    p->leaf_count = g->leaf_count;
    return p;
}

static void plan_allocate(const plan_graph *g, plan *p) {
    static const char *what = "a plan";
    size_t items = (size_t)g->item_count, outputs = (size_t)g->output_count, operands = 0;
    for (int k = 0; k < g->item_count; k++) operands += (size_t)g->items[k].input_count + 2;
    p->capacity_items = items;
    p->capacity_operands = operands;
    p->capacity_outputs = outputs;
    p->storages = memory_allocate(items * sizeof *p->storages, what);
    p->bases = memory_allocate(items * sizeof *p->bases, what);
    p->instructions = memory_allocate(items * sizeof *p->instructions, what);
    p->skeletons = memory_allocate(items * sizeof *p->skeletons, what);
    p->inner = memory_allocate(items * sizeof *p->inner, what);
    p->operands = memory_allocate(operands * sizeof *p->operands, what);
    p->operand_storages = memory_allocate(operands * sizeof *p->operand_storages, what);
    p->outputs = memory_allocate(outputs * sizeof *p->outputs, what);
    p->kept = memory_allocate(outputs * sizeof *p->kept, what);
    p->kept_values = memory_allocate(outputs * sizeof *p->kept_values, what);
    memset(p->kept_values, 0, outputs * sizeof *p->kept_values);
}

static bool uses_donated(const plan *p, const instruction *now) {
    for (int k = now->operand_begin; k < now->operand_begin + now->operand_count; k++) {
        const storage *s = &p->storages[p->operand_storages[k]];
        if (s->home == HOME_KEPT && p->kept[s->place].donor >= 0) return true;
    }
    return false;
}

static int count_stoppable(const plan *p) {
    int count = 0;
    while (count < p->instruction_count && !uses_donated(p, &p->instructions[count])) count++;
    return count;
}

plan *plan_schedule(plan_graph *g) {
    order_units(g);
    find_stored(g);
    place_concat_inputs(g);
    lifetime *lives = memory_scoped((size_t)g->item_count * sizeof *lives, "a plan");
    lifetime **placed = memory_scoped((size_t)g->item_count * sizeof *placed, "a plan");
    find_lifetimes(g, lives);
    plan *p = plan_new(g);
    plan_allocate(g, p);
    place_kept(g, p, lives);
    overwrite_inputs(g, lives);
    place_scratch(g, p, lives, placed);
    for (int k = 0; k < g->item_count; k++)
        if (g->items[k].call != NULL && g->items[k].live) p->skeletons[p->skeleton_count++] = node_retain(g->items[k].call);
    for (int k = 0; k < p->skeleton_count; k++)
        if (blocks_plan(p->skeletons[k]) != NULL) p->inner[p->inner_count++] = plan_retain(blocks_plan(p->skeletons[k]));
    for (int at = 0; at < g->unit_count; at++) {
        const unit *u = &g->units[g->schedule[at]];
        if (u->fused) write_fused(g, p, u);
        else write_kernel(g, p, u);
    }
    p->stoppable_count = count_stoppable(p);
    for (int o = 0; o < g->output_count; o++) {
        const item *i = &g->items[g->outputs[o]];
        int64_t offset;
        const item *home = final_home(g, &g->items[i->root], &offset);
        plan_output *out = &p->outputs[p->output_count++];
        *out = (plan_output){home->storage, i->look};
        out->look.offset += offset;
    }
    return p;
}
