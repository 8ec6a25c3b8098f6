/* The interpreter of another architecture's programs on an x86-64 host, while images for it are built.
 *
 * binfmt_misc hands it every such program (flags P and F, so argv is: this program, the path, argv[0], arguments).
 * In the root directory that it is run in, which usually is an image's tree, it looks for the program's native twin:
 * the same program of the same package and version, for the host (see make.py and `programs`). In this order:
 *
 *   1. ROOT/native/<path>, the path with all links resolved: the twin whatever its arguments are;
 *   2. ROOT/scripts/<name>/<arguments>: perl and python, for known scripts only;
 *   3. the emulator.
 *
 * A twin is of the same version as the program when both files have the same time: dpkg-deb gives all that a build
 * made the time of the newest entry in the package's changelog (SOURCE_DATE_EPOCH). That is the same for every
 * architecture, but for rebuilds (binNMUs), for which make.py sets it. Any other twin is not used. Nor is
 * one when variables, or /etc/ld.so.preload, have programs load something of the image, or are ldd's.
 *
 * Where there is no ROOT, all programs are emulated, as with the distribution's own registration of QEMU. The emulator
 * is ROOT/qemu, or QEMU at its own path, or the copy of it in this file.
 *
 * No C library: this runs before each of ten thousands of programs, and the start of a static glibc takes longer than
 * all that is done here. Nor its headers, so that a compiler is all that is needed; the numbers are the kernel's
 * (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/linux) and never change.
 */
#include <stddef.h>

#ifndef ROOT
#define ROOT "/.cc"
#endif
#define MAX_LINKS 40                    /* as the kernel's */
#define MAX_ARGUMENTS 3                 /* by which a script is known */
#define APT_DUMP "/tmp/apt.conf."          /* all of its configuration, which apt writes for those it starts */
#define CANNOT_RUN 126                  /* a shell's exit code for what it cannot execute */

enum { WRITE = 1, OPEN = 2, CLOSE = 3, STAT = 4, ACCESS = 21, EXECVE = 59, GETCWD = 79, READLINK = 89, EXIT_GROUP = 231,
       MEMFD_CREATE = 319, EXECVEAT = 322 };
#define PATH_MAX 4096
#define EINVAL 22
#define X_OK 1
#define O_WRONLY 1
#define O_APPEND 02000
#define O_CLOEXEC 02000000
#define MFD_CLOEXEC 1
#define AT_EMPTY_PATH 0x1000
struct stat { long other[3]; unsigned mode, uid; long gid, rdev, size, blocks[2], atime[2], st_mtime, more[6]; };
#define S_IFMT 0170000
#define S_IFREG 0100000

/* QEMU and MACHINE come from the command line of the compiler */
__asm__(".section .rodata\n"
        "qemu_start: .incbin \"" QEMU "\"\n"
        "qemu_end: .text\n");
extern const char qemu_start[], qemu_end[];

static long call5(long number, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}
#define call(number, a, b, c) call5(number, (long)(a), (long)(b), (long)(c), 0, 0)

void *memcpy(void *to, const void *from, size_t count)
{
    char *t = to;
    for (const char *f = from; count--; ) *t++ = *f++;
    return to;
}

static size_t length(const char *text)
{
    size_t n = 0;
    while (text[n]) n++;
    return n;
}

static int begins(const char *text, const char *with)
{
    while (*with) if (*text++ != *with++) return 0;
    return 1;
}

static int equal(const char *one, const char *other)
{
    return begins(one, other) && !one[length(other)];
}

/* A text that grows; once it did not fit, it stays `broken`. */
struct text { char at[PATH_MAX]; size_t used; int broken; };

static void add(struct text *text, const char *more, size_t count)
{
    if (text->used + count + 1 > sizeof text->at) { text->broken = 1; return; }
    memcpy(text->at + text->used, more, count);
    text->used += count;
    text->at[text->used] = 0;
}

static void append(struct text *text, const char *more) { add(text, more, length(more)); }

static void cut(struct text *text, size_t used) { text->used = used; text->at[used] = 0; }

static const char *variable(char **environment, const char *name_and_equals)
{
    for (; *environment; environment++)
        if (begins(*environment, name_and_equals)) return *environment + length(name_and_equals);
    return 0;
}

static const char *last(const char *path)
{
    const char *at = path + length(path);
    while (at > path && at[-1] != '/') at--;
    return at;
}

static int runs(const char *path) { return call(ACCESS, path, X_OK, 0) == 0; }

/* realpath(3) in the current root; 0 when there is no such file */
static int resolve(const char *path, struct text *real)
{
    static struct text rest, before;
    static char link[PATH_MAX];
    int links = 0;
    if (*path != '/') {
        long n = call(GETCWD, rest.at, sizeof rest.at - 1, 0);     /* counts the NUL */
        if (n <= 0 || *rest.at != '/') return 0;
        cut(&rest, n - 1);
        append(&rest, "/");
    }
    append(&rest, path);
    char *at = rest.at;
    for (;;) {
        while (*at == '/') at++;
        if (!*at) break;
        char *end = at;
        while (*end && *end != '/') end++;
        size_t parent = real->used;
        if (end - at == 2 && begins(at, "..")) {
            while (real->used && real->at[--real->used] != '/') ;
            cut(real, real->used);
        } else if (end - at != 1 || *at != '.') {
            append(real, "/");
            add(real, at, end - at);
            if (real->broken || rest.broken) return 0;
            long n = call(READLINK, real->at, link, sizeof link - 1);
            if (n >= 0) {
                link[n] = 0;
                if (++links > MAX_LINKS) return 0;
                cut(&before, 0);
                append(&before, end);
                cut(&rest, 0);
                append(&rest, link);
                append(&rest, before.at);
                if (rest.broken || before.broken) return 0;
                cut(real, *link == '/' ? 0 : parent);
                end = rest.at;
            } else if (n != -EINVAL) {                                  /* EINVAL: it is no link */
                return 0;
            }
        }
        at = end;
    }
    return real->used > 0;
}

/* Whether there is a file, which may be run. */
static int runs_file(const char *path)
{
    struct stat found;
    return runs(path) && !call(STAT, path, &found, 0) && (found.mode & S_IFMT) == S_IFREG;
}

/* Whether two files are of the same version of their package. */
static int same_version(const char *one, const char *other)
{
    struct stat a, b;
    if (call(STAT, one, &a, 0) || call(STAT, other, &b, 0)) return 0;
    return a.st_mtime == b.st_mtime;
}

/* The twin that is known by the first arguments: each after a '+', with '!' for '/' and '+' for a space. */
static int script(const char *name, char **arguments, struct text *twin)
{
    append(twin, ROOT "/scripts/");
    append(twin, name);
    if (twin->broken || !runs(twin->at)) return 0;
    append(twin, "/");
    for (int i = 0; i < MAX_ARGUMENTS && arguments[i]; i++) {
        if (i) append(twin, "+");
        for (const char *c = arguments[i]; *c; c++) add(twin, *c == '/' ? "!" : *c == ' ' ? "+" : c, 1);
        if (twin->broken) return 0;
        if (runs_file(twin->at)) return 1;
    }
    return 0;
}

/* One line for people who look for programs that need a twin: kind, path, and what perl, python and the loader run. */
static void note(const char *kind, const char *path, char **arguments)
{
    static struct text line;
    long log = call(OPEN, ROOT "/log", O_WRONLY | O_APPEND | O_CLOEXEC, 0);
    if (log < 0) return;
    append(&line, kind);
    append(&line, path);
    const char *name = last(path);
    int shown = begins(name, "perl") || begins(name, "python") || begins(name, "ld-linux") ? 2 : 0;
    for (int i = 0; i < shown && arguments[i]; i++) { append(&line, " "); append(&line, arguments[i]); }
    for (char *c = line.at; *c; c++) if (*c < ' ') *c = ' ';
    append(&line, "\n");
    call(WRITE, log, line.at, line.used);
    call(CLOSE, log, 0, 0);
}

/* Whether a variable is set that makes programs load something of the image, or say what they would load. */
static int loads(char **environment)
{
    static const char *const names[] = { "LD_", "GCONV_PATH=", "PERL5LIB=", "PERLLIB=", "PYTHONPATH=", "PYTHONHOME=",
                                         "OPENSSL_MODULES=", "OPENSSL_ENGINES=" };
    struct stat found;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) if (variable(environment, names[i])) return 1;
    return !call(STAT, "/etc/ld.so.preload", &found, 0) && found.size > 0;
}

/* Start the native twin of `path` if there is one; return if there is none. */
static void run_twin(const char *path, char **argv, char **environment, size_t variables)
{
    static struct text real, twin;
    char *extended[variables + 3];
    if (!runs(ROOT "/native") || loads(environment) || !resolve(path, &real)) return;
    const char *name = last(real.at);
    char **arguments = *argv ? argv + 1 : argv;

    append(&twin, ROOT "/native");
    append(&twin, begins(real.at, "/usr/") ? "" : "/usr");              /* roots with a /bin of its own */
    append(&twin, real.at);
    if (twin.broken || !runs(twin.at)) {
        twin.broken = 0;
        cut(&twin, 0);
        if (!script(name, arguments, &twin)) { note("emulated ", real.at, arguments); return; }
    }
    if (!same_version(real.at, twin.at)) { note("version ", real.at, arguments); return; }

    memcpy(extended, environment, variables * sizeof *environment);
    if (begins(name, "apt")) {                                          /* asks its configuration for the architecture */
        const char *own = variable(environment, "APT_CONFIG=");
        if (own && !equal(own, ROOT "/apt.conf") && !begins(own, APT_DUMP)) { note("configured ", real.at, arguments); return; }
        if (!own) extended[variables++] = "APT_CONFIG=" ROOT "/apt.conf";
    }
    if (equal(name, "bash")) {                                          /* has it compiled in, and tells its children */
        if (!variable(environment, "HOSTTYPE=")) extended[variables++] = "HOSTTYPE=" MACHINE;
        if (!variable(environment, "MACHTYPE=")) extended[variables++] = "MACHTYPE=" MACHINE "-unknown-linux-gnu";
    }
    extended[variables] = 0;
    note("native ", real.at, arguments);
    call(EXECVE, twin.at, argv, extended);
}

static void emulate(const char *path, char **argv, long argc, char **environment)
{
    char *with[argc + 4];
    with[0] = "qemu-" MACHINE;
    with[1] = "-0";
    with[2] = argc ? argv[0] : "";
    with[3] = (char *)path;
    for (long i = 1; i <= argc; i++) with[3 + i] = argv[i];             /* the NULL too */
    if (!argc) with[4] = 0;
    call(EXECVE, ROOT "/qemu", with, environment);
    call(EXECVE, QEMU, with, environment);
    long copy = call(MEMFD_CREATE, "qemu", MFD_CLOEXEC, 0), count;
    for (const char *at = qemu_start; copy >= 0 && at < qemu_end; at += count)
        if ((count = call(WRITE, copy, at, qemu_end - at)) <= 0) return;
    call5(EXECVEAT, copy, (long)"", (long)with, (long)environment, AT_EMPTY_PATH);
}

__attribute__((used)) void start(long *stack)
{
    static const char usage[] = "interpreter: binfmt_misc runs this, with the flags P and F\n";
    static const char failure[] = "interpreter: the emulator cannot be started\n";
    long argc = stack[0];
    char **argv = (char **)(stack + 1), **environment = argv + argc + 1;
    size_t variables = 0;
    while (environment[variables]) variables++;
    if (argc < 3) {
        call(WRITE, 2, usage, sizeof usage - 1);
    } else {
        run_twin(argv[1], argv + 2, environment, variables);
        emulate(argv[1], argv + 2, argc - 2, environment);
        call(WRITE, 2, failure, sizeof failure - 1);
    }
    call(EXIT_GROUP, CANNOT_RUN, 0, 0);
}
__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n hlt\n");
