// A program that crashes in the way its first argument names; with a second one, in one of so many threads and one.

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

#define KEPT __attribute__((noinline, noclone))

namespace {

volatile int *volatile nowhere = nullptr;
void (*volatile nobody)(int) = nullptr;
volatile int seven = 7, nothing = 0;
const char *how;

KEPT int crash();

KEPT int use(volatile char *room, int depth) {
    room[0] = static_cast<char>(depth);
    return room[0];
}

KEPT int descend(int depth) {
    volatile char room[64];
    return depth == 0 ? crash() + use(room, 1) : descend(depth - 1) + use(room, depth);
}

KEPT int never_ends(int depth) {
    volatile char room[512];
    room[depth & 511] = 1;
    return never_ends(depth + 1) + use(room, depth);
}

KEPT int order(const void *one, const void *other) {
    how = "abort";
    return crash() + (one < other);
}

KEPT void on_signal(int) { std::abort(); }

void handle(int flags) {
    static char room[1 << 16];
    stack_t other{};
    other.ss_sp = room;
    other.ss_size = sizeof room;
    if (flags & SA_ONSTACK) sigaltstack(&other, nullptr);
    struct sigaction action{};
    action.sa_handler = on_signal;
    action.sa_flags = flags;
    sigaction(SIGSEGV, &action, nullptr);
}

struct Table {
    virtual ~Table() = default;
    virtual int load(int depth) = 0;
};

template <typename Key> struct Tree : Table {
    KEPT int load(int depth) override {
        Key key{};
        return crash() + depth + static_cast<int>(sizeof key);
    }
};

} // namespace

// As the compiler of Rust names functions: by its older scheme, and by the newer one.
extern "C" int panic_fmt(int) __asm__("_ZN4core9panicking9panic_fmt17h0123456789abcdefE");
extern "C" int run(int) __asm__("_RNvMNtCs5l0EXMQXRMU_5crate4mainNtB2_4Load3run");
KEPT int panic_fmt(int more) { return std::abort(), more; }
KEPT int run(int more) { return panic_fmt(more + 1) + 2; }

namespace {

int crash() {
    const std::string way = how;
    if (way == "abort") std::abort();
    if (way == "null") *nowhere = 7;
    if (way == "nullcall") nobody(3);
    if (way == "fpe") return seven / nothing;
    if (way == "overflow") return never_ends(0);
    if (way == "throw") throw std::runtime_error("no");
    if (way == "rust") return run(1) + 1;
    if (way == "memcpy") std::memcpy(const_cast<int *>(nowhere), how, 1000 + nothing);
    if (way == "handler" || way == "altstack") handle(way == "altstack" ? SA_ONSTACK : 0);
    if (way == "handler") *nowhere = 7;
    if (way == "altstack") return never_ends(0);
    int values[] = {3, 1, 2};
    if (way == "qsort") std::qsort(values, 3, sizeof *values, order);
    how = "null";
    if (way == "deep") return descend(3000);
    return values[0];
}

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t work = PTHREAD_COND_INITIALIZER;
pthread_barrier_t here;

KEPT void *waits(void *) {
    pthread_mutex_lock(&mutex);
    pthread_barrier_wait(&here);
    return reinterpret_cast<void *>(pthread_cond_wait(&work, &mutex));
}

KEPT void *sleeps(void *) {
    pthread_barrier_wait(&here);
    for (;;) pause();
}

KEPT void *crashes(void *) {
    usleep(200000); // so that the others have come to rest
    Tree<int> table;
    return reinterpret_cast<void *>(static_cast<long>(table.load(1)));
}

} // namespace

int main(int argc, char **argv) {
    how = argc > 1 ? argv[1] : "null";
    const int others = argc > 2 ? std::atoi(argv[2]) : 0;
    Tree<std::string> table;
    Table *some = &table;
    if (others == 0) return some->load(argc);
    pthread_t thread;
    // Once only: who still leaves a barrier that is made anew waits for ever.
    pthread_barrier_init(&here, nullptr, 2);
    for (int i = 0; i < others; i++) {
        pthread_create(&thread, nullptr, i % 2 ? sleeps : waits, nullptr);
        pthread_barrier_wait(&here);
    }
    pthread_create(&thread, nullptr, crashes, nullptr);
    return pthread_join(thread, nullptr);
}
