// Threads that share a layer. Where torch has brought an OpenMP runtime, its threads are taken, since a second set of
// them would contend for the same cores; else threads of our own are started for the call.
#include <dlfcn.h>
#include <sched.h>

#include <thread>
#include <vector>

#include "team.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE _mm_pause()
#else
#define PAUSE ((void)0)
#endif

namespace ostinato {

bool Team::meet() {
  if (size > 1) {
    const int now = round.load(std::memory_order_relaxed);
    if (waiting.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      waiting.store(0, std::memory_order_relaxed);
      round.store(now + 1, std::memory_order_release);
    } else {
      for (int spins = 0; round.load(std::memory_order_acquire) == now; ++spins) {
        if (stop.load(std::memory_order_relaxed)) return false;
        if (spins < 4096) PAUSE;
        else sched_yield();  // more threads than cores: let the late one run
      }
    }
  }
  return !stop.load(std::memory_order_relaxed);
}

bool Team::go_on(int thread) {
  if (thread == 0 && interrupted()) stop.store(true);
  return !stop.load(std::memory_order_relaxed);
}

namespace {
struct Work {
  const std::function<void(int)>* function;
  int (*thread_number)();
};
void enter(void* data) {
  const Work* work = static_cast<Work*>(data);
  (*work->function)(work->thread_number());
}
}  // namespace

void parallel(int threads, const std::function<void(int)>& function) {
  using GompParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
  static const auto gomp = reinterpret_cast<GompParallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  static const auto number = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
  static const auto count = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_max_threads"));
  static const auto nested = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_in_parallel"));
  if (threads == 1) return function(0);
  if (gomp && number && count && nested && !nested()) {
    Work work{&function, number};
    return gomp(enter, &work, unsigned(threads), 0);
  }
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(function, i);
  function(0);
  for (auto& other : others) other.join();
}

}  // namespace ostinato
