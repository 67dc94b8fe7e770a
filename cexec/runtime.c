/* What an instrumented program calls: the record of every write, on file descriptor 3.
 *
 * It stands before the program in the same file, includes nothing, calls no stdio, and allocates
 * nothing, so that the program's own output and headers stay as they are and a program that may
 * only read, write and exit still runs. A record is one line, "LINE NAME VALUE"; the log ends with
 * "." when the program ended by itself, and with "!LINE REASON" when it was cut off.
 *
 * Compile without optimisation: which objects live is told from the frames of their functions.
 */
#ifndef CEXEC_LIMIT
#define CEXEC_LIMIT 100000 /* writes in one run */
#endif
#define CEXEC_OBJECTS 65536
#define CEXEC_NAME 512
_Static_assert(sizeof(long) == 8, "a 64-bit Unix is needed");

long syscall(long number, ...);
int atexit(void (*function)(void));
#if defined(__linux__) && defined(__x86_64__)
#define cexec_sys_write(data, n) syscall(1, 3L, (long)(data), (long)(n))
#define cexec_sys_exit() syscall(60, 0L)
#elif defined(__linux__) && defined(__aarch64__)
#define cexec_sys_write(data, n) syscall(64, 3L, (long)(data), (long)(n))
#define cexec_sys_exit() syscall(93, 0L)
#else
#error "known are Linux on x86-64 and on arm64"
#endif

/* A type that ends an array or pointer: bytes of a number (0 for what is not traced), or fields. */
struct cexec_type {
    int bytes, negative, n;
    const struct cexec_object *fields;
};

/* An object with a name, or a field: where it starts, its size, and the size of m[0], m[0][0]... */
struct cexec_object {
    const char *name;
    unsigned long at, size;
    const struct cexec_type *type;
    int dimensions;
    unsigned long strides[4];
    unsigned long frame; /* of the function that owns it */
};

#define CEXEC_TYPE(id, ...) \
    static const struct cexec_type cexec_##id = {sizeof(__VA_ARGS__), (__VA_ARGS__)-1 < 0, 0, 0};
CEXEC_TYPE(char, char)
CEXEC_TYPE(schar, signed char)
CEXEC_TYPE(uchar, unsigned char)
CEXEC_TYPE(short, short)
CEXEC_TYPE(ushort, unsigned short)
CEXEC_TYPE(int, int)
CEXEC_TYPE(uint, unsigned)
CEXEC_TYPE(long, long)
CEXEC_TYPE(ulong, unsigned long)
CEXEC_TYPE(llong, long long)
CEXEC_TYPE(ullong, unsigned long long)
CEXEC_TYPE(bool, _Bool)
static const struct cexec_type cexec_other = {0, 0, 0, 0};

static char cexec_buffer[1 << 16];
static unsigned long cexec_held;
static long cexec_count;
static int cexec_started, cexec_statics, cexec_top;
static struct cexec_object cexec_static[4096], cexec_live[CEXEC_OBJECTS];

void cexec_flush(void) {
    unsigned long done = 0;
    while (done < cexec_held) {
        long n = cexec_sys_write(cexec_buffer + done, cexec_held - done);
        if (n <= 0) break;
        done += n;
    }
    cexec_held = 0;
}

static void cexec_text(const char *text) {
    for (; *text; text++) {
        if (cexec_held == sizeof cexec_buffer) cexec_flush();
        cexec_buffer[cexec_held++] = *text;
    }
}

static const char *cexec_digits(unsigned long long value, int negative) {
    static char rows[2][24]; /* a record needs two numbers at once */
    static int row;
    char *at = rows[row ^= 1] + 23;
    do *--at = (char)('0' + value % 10);
    while (value /= 10);
    if (negative) *--at = '-';
    return at;
}

static const char *cexec_signed(long long value) {
    return cexec_digits(value < 0 ? -(unsigned long long)value : (unsigned long long)value,
                        value < 0);
}

static void cexec_stop(int line, const char *reason) {
    cexec_text("!");
    cexec_text(cexec_signed(line));
    cexec_text(" ");
    cexec_text(reason);
    cexec_text("\n");
    cexec_flush();
    for (;;) cexec_sys_exit();
}

static void cexec_end(void) {
    cexec_text(".\n");
    cexec_flush();
}

/* Called first by main. A library of many programs (CEXEC_BATCH) calls cexec_flush at its end. */
static void cexec_begin(void) {
    if (cexec_started) return;
    cexec_started = 1;
#ifndef CEXEC_BATCH
    atexit(cexec_end);
#endif
}

/* Between the programs of a library: forgets the last one's objects. */
void cexec_mark(int number) {
    cexec_statics = cexec_top = 0;
    cexec_count = 0;
    cexec_text("\x01 ");
    cexec_text(cexec_signed(number));
    cexec_text("\n");
}

static void cexec_record(int line, const char *name, const char *value) {
    if (cexec_count++ == CEXEC_LIMIT) cexec_stop(line, "more writes than are recorded");
    cexec_text(cexec_signed(line));
    cexec_text(" ");
    cexec_text(name);
    cexec_text(" ");
    cexec_text(value);
    cexec_text("\n");
}

__attribute__((noinline)) static void cexec_s(int line, const char *name, long long value) {
    cexec_record(line, name, cexec_signed(value));
}

__attribute__((noinline)) static void cexec_u(int line, const char *name,
                                              unsigned long long value) {
    cexec_record(line, name, cexec_digits(value, 0));
}

/* Names are put together here. */
struct cexec_name {
    char text[CEXEC_NAME];
    int length, line;
};

static void cexec_add(struct cexec_name *name, const char *text) {
    for (; *text; text++) {
        if (name->length == CEXEC_NAME - 1) cexec_stop(name->line, "the name is too long");
        name->text[name->length++] = *text;
    }
    name->text[name->length] = 0;
}

static void cexec_index(struct cexec_name *name, unsigned long index) {
    cexec_add(name, "[");
    cexec_add(name, cexec_digits(index, 0));
    cexec_add(name, "]");
}

/* Each \1 of a format stands for the next index; bounded: with the number of elements beside it. */
static void cexec_fill(struct cexec_name *name, const char *format, int bounded,
                       __builtin_va_list indices) {
    char one[2] = {0, 0};
    for (; *format; format++) {
        if (*format != 1) {
            one[0] = *format;
            cexec_add(name, one);
            continue;
        }
        long index = __builtin_va_arg(indices, long);
        if (bounded) {
            unsigned long count = __builtin_va_arg(indices, unsigned long);
            if ((unsigned long)index >= count) cexec_stop(name->line, "an index out of range");
        }
        cexec_add(name, cexec_signed(index));
    }
}

static void cexec_number(struct cexec_name *name, unsigned long at, const struct cexec_type *type) {
    union cexec_any {
        signed char b; short h; int i; long long l;
        unsigned char ub; unsigned short uh; unsigned ui; unsigned long long ul;
    } *held = (union cexec_any *)at;
    long long value = type->bytes == 1 ? (type->negative ? held->b : held->ub)
                    : type->bytes == 2 ? (type->negative ? held->h : held->uh)
                    : type->bytes == 4 ? (type->negative ? held->i : (long long)held->ui)
                                       : held->l;
    if (type->bytes == 8 && !type->negative) cexec_u(name->line, name->text, held->ul);
    else cexec_s(name->line, name->text, value);
}

typedef void cexec_leaf(struct cexec_name *, unsigned long, const struct cexec_type *);

/* Every number in an object, in order of their addresses. */
static void cexec_every(struct cexec_name *name, const struct cexec_object *object,
                        unsigned long at, int depth, cexec_leaf *leaf) {
    int length = name->length;
    if (depth < object->dimensions) {
        unsigned long size = depth ? object->strides[depth - 1] : object->size;
        unsigned long stride = object->strides[depth];
        for (unsigned long k = 0; k < size / stride; k++) {
            cexec_index(name, k);
            cexec_every(name, object, at + k * stride, depth + 1, leaf);
            name->text[name->length = length] = 0;
        }
        return;
    }
    if (object->type->bytes) leaf(name, at, object->type);
    for (int k = 0; k < object->type->n; k++) {
        const struct cexec_object *field = &object->type->fields[k];
        cexec_add(name, ".");
        cexec_add(name, field->name);
        cexec_every(name, field, at + field->at, 0, leaf);
        name->text[name->length = length] = 0;
    }
}

/* A value of a type, which may be a struct, at an address that has a name. */
static void cexec_value(struct cexec_name *name, unsigned long at, const struct cexec_type *type,
                        cexec_leaf *leaf) {
    struct cexec_object object = {0, at, 0, type, 0, {0, 0, 0, 0}, 0};
    cexec_every(name, &object, at, 0, leaf);
}

static void cexec_object(struct cexec_object *object, const char *name, const void *at,
                         unsigned long size, const struct cexec_type *type, int dimensions,
                         __builtin_va_list strides) {
    object->name = name;
    object->at = (unsigned long)at;
    object->size = size;
    object->type = type;
    object->dimensions = dimensions;
    for (int k = 0; k < dimensions; k++)
        object->strides[k] = __builtin_va_arg(strides, unsigned long);
}

/* A whole array or struct is written. */
static void cexec_o(int line, const char *name, const void *at, unsigned long size,
                    const struct cexec_type *type, int dimensions, ...) {
    struct cexec_object object;
    struct cexec_name text = {{0}, 0, line};
    __builtin_va_list strides;
    __builtin_va_start(strides, dimensions);
    cexec_object(&object, name, at, size, type, dimensions, strides);
    __builtin_va_end(strides);
    cexec_add(&text, name);
    cexec_every(&text, &object, object.at, 0, cexec_number);
}

/* m[index] of an array of n numbers. */
__attribute__((noinline)) static void cexec_e(int line, const char *array, long index,
                                              unsigned long n, long long value) {
    struct cexec_name name;
    name.length = 0;
    name.line = line;
    if ((unsigned long)index >= n) cexec_stop(line, "an index out of range");
    cexec_add(&name, array);
    cexec_index(&name, index);
    cexec_s(line, name.text, value);
}

/* A place whose object is known; \1 of the format stands for (index, number of elements). */
static void cexec_n(int line, const char *format, const void *at, const struct cexec_type *type,
                    ...) {
    struct cexec_name name = {{0}, 0, line};
    __builtin_va_list indices;
    __builtin_va_start(indices, type);
    cexec_fill(&name, format, 1, indices);
    __builtin_va_end(indices);
    cexec_value(&name, (unsigned long)at, type, cexec_number);
}

/* A function begins: what frames at or below its own have registered is gone. */
static void cexec_enter(void *frame) {
    while (cexec_top && cexec_live[cexec_top - 1].frame <= (unsigned long)frame) cexec_top--;
}

/* A parameter or local object begins its life, in the frame of its function. */
static void cexec_r(void *frame, const char *name, const void *at, unsigned long size,
                    const struct cexec_type *type, int dimensions, ...) {
    struct cexec_object object = {0};
    __builtin_va_list strides;
    while (cexec_top && cexec_live[cexec_top - 1].frame < (unsigned long)frame) cexec_top--;
    __builtin_va_start(strides, dimensions);
    cexec_object(&object, name, at, size, type, dimensions, strides);
    __builtin_va_end(strides);
    object.frame = (unsigned long)frame;
    int kept = cexec_top;
    while (kept && cexec_live[kept - 1].frame == object.frame) kept--;
    for (int k = kept; k < cexec_top; k++) { /* whatever lay there before is gone */
        const struct cexec_object *old = &cexec_live[k];
        if (old->at + old->size <= object.at || object.at + object.size <= old->at)
            cexec_live[kept++] = *old;
    }
    cexec_top = kept;
    if (cexec_top == CEXEC_OBJECTS) cexec_stop(0, "too many objects live at once");
    cexec_live[cexec_top++] = object;
}

/* A global or static object. */
static void cexec_rs(const char *name, const void *at, unsigned long size,
                     const struct cexec_type *type, int dimensions, ...) {
    __builtin_va_list strides;
    for (int k = 0; k < cexec_statics; k++)
        if (cexec_static[k].at == (unsigned long)at) return;
    if (cexec_statics == 4096) cexec_stop(0, "too many global objects");
    __builtin_va_start(strides, dimensions);
    cexec_object(&cexec_static[cexec_statics++], name, at, size, type, dimensions, strides);
    __builtin_va_end(strides);
}

static const struct cexec_object *cexec_find(unsigned long at) {
    for (int k = cexec_top - 1; k >= 0; k--)
        if (at - cexec_live[k].at < cexec_live[k].size) return &cexec_live[k];
    for (int k = 0; k < cexec_statics; k++)
        if (at - cexec_static[k].at < cexec_static[k].size) return &cexec_static[k];
    return 0;
}

/* One number through a pointer: in the object that lies there, by that object's name and type. */
static void cexec_scalar(struct cexec_name *written, unsigned long at,
                         const struct cexec_type *type) {
    struct cexec_name name = {{0}, 0, written->line};
    const struct cexec_object *object = cexec_find(at);
    unsigned long offset;
    if (!object) {
        cexec_number(written, at, type);
        return;
    }
    for (offset = at - object->at;; offset -= object->at) {
        cexec_add(&name, object->name);
        for (int k = 0; k < object->dimensions; k++) {
            cexec_index(&name, offset / object->strides[k]);
            offset %= object->strides[k];
        }
        int n = object->type->n, k = 0;
        if (!n) break;
        const struct cexec_object *fields = object->type->fields;
        while (k < n && offset - fields[k].at >= fields[k].size) k++;
        if (k == n) cexec_stop(name.line, "a write between the fields of a struct");
        object = &fields[k];
        cexec_add(&name, ".");
    }
    if (offset || object->type->bytes != type->bytes)
        cexec_stop(name.line, "a write through a pointer of another type than its object's");
    cexec_number(&name, at, object->type);
}

/* A write through a pointer; the format names it where no object with a name lies there. */
static void cexec_p(int line, const char *format, const void *at, const struct cexec_type *type,
                    ...) {
    struct cexec_name name = {{0}, 0, line};
    __builtin_va_list indices;
    __builtin_va_start(indices, type);
    cexec_fill(&name, format, 0, indices);
    __builtin_va_end(indices);
    cexec_value(&name, (unsigned long)at, type, cexec_scalar);
}
