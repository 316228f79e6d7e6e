package wasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// How memory is set back: the image of an initialised memory is a file in memory, mapped privately, so that the kernel gives a call its own copy of
// each page that it writes to. The pages that calls write to again and again, stack and heap of an ordinary call, stay ours and are copied back
// from the image, which costs less than to give them up and take a fault for each in the next call. Other pages show themselves: a call that took no
// page fault has written to none. After one that did, the page table tells which pages they were, and they are given up.
//
// An instance whose memory has grown is not set back but replaced.

const osPage = 4096

// memory is the linear memory of an instance: as much address space as it may ever use, of which the first size bytes are accessible.
type memory struct {
	base    []byte
	size    int
	refused bool // it was asked for more than there may be
	faults  int64
	mapped  *image
	sights  []uint8  // by page: how often it was found written to
	hot     []uint32 // the pages that are copied back after each call
	pages   []byte   // of the page table
}

const (
	hotSights = 2   // a page that was found as often is hot
	maxHot    = 512 // pages
)

func newMemory(most uint64) *memory {
	most = (most + osPage - 1) / osPage * osPage
	base, err := unix.Mmap(-1, 0, int(max(most, osPage)), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE) //nolint:gosec // at most 4 GiB
	if err != nil {
		return &memory{refused: true}
	}
	return &memory{base: base}
}

// Reallocate implements experimental.LinearMemory.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.base)) {
		m.refused = true
		return nil
	}
	if more := m.base[m.size:size]; len(more) > 0 {
		if err := unix.Mprotect(more, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			m.refused = true
			return nil
		}
	}
	m.size = int(size) //nolint:gosec // at most the length of base
	return m.base[:size:size]
}

// Free implements experimental.LinearMemory.
func (m *memory) Free() {
	if m.base != nil {
		_ = unix.Munmap(m.base) // as it was mapped
		m.base = nil
	}
}

func (m *memory) len() int { return m.size }

// image is what a memory is set back to.
type image struct {
	file *os.File
	b    []byte
}

func (i *image) len() int { return len(i.b) }

func (i *image) free() {
	_ = unix.Munmap(i.b) // as it was mapped
	_ = i.file.Close()   // nothing is written any more
}

// snapshot makes an image of the memory. Pages of zeros are left out, and take no room.
func (m *memory) snapshot() (*image, error) {
	fd, err := unix.MemfdCreate("sequin-module", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("keep the memory of a module: %w", err)
	}
	file := os.NewFile(uintptr(fd), "sequin-module")
	err = file.Truncate(int64(m.size))
	var zero [osPage]byte
	for at := 0; at < m.size && err == nil; at += osPage {
		if page := m.base[at : at+osPage]; [osPage]byte(page) != zero {
			_, err = file.WriteAt(page, int64(at))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep the memory of a module: %w", err), file.Close())
	}
	b, err := unix.Mmap(fd, 0, m.size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep the memory of a module: %w", err), file.Close())
	}
	i := &image{file: file, b: b}
	if err := m.show(i); err != nil {
		i.free()
		return nil, err
	}
	return i, nil
}

// show makes the memory a private view of the image.
func (m *memory) show(i *image) error {
	_, err := unix.MmapPtr(int(i.file.Fd()), 0, unsafe.Pointer(unsafe.SliceData(m.base)), uintptr(m.size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("set back the memory of a module: %w", err)
	}
	m.mapped, m.sights, m.hot = i, make([]uint8, m.size/osPage), m.hot[:0]
	return nil
}

// begin notes how many page faults this thread has had.
func (m *memory) begin() { m.faults = faults() }

func faults() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return -1
	}
	return u.Minflt + u.Majflt
}

// restore sets the memory back to the image.
func (m *memory) restore(i *image) error {
	if m.mapped != i {
		return m.show(i)
	}
	for _, page := range m.hot {
		at := int(page) * osPage
		copy(m.base[at:at+osPage], i.b[at:at+osPage])
	}
	if now := faults(); now >= 0 && now == m.faults {
		return nil
	}
	return m.restoreOthers()
}

// pagemap is the page table of this process.
var pagemap = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/self/pagemap") })

// The bits of an entry.
const (
	pagePresent = 1 << 63
	pageSwapped = 1 << 62
	pageOfFile  = 1 << 61
)

// restoreOthers gives up the pages that were written to and are not hot, and makes those hot that it meets again.
func (m *memory) restoreOthers() error {
	table, err := pagemap()
	if err != nil {
		return m.show(m.mapped) // without a page table, all of it
	}
	if m.pages == nil {
		m.pages = make([]byte, 8*(m.size/osPage))
	}
	first := int64(uintptr(unsafe.Pointer(unsafe.SliceData(m.base))) / osPage) //nolint:gosec // our own address space
	if _, err := table.ReadAt(m.pages, 8*first); err != nil {
		return m.show(m.mapped)
	}
	run := 0 // the pages before this one that are to be given up
	give := func(end int) error {
		if run == 0 {
			return nil
		}
		part := m.base[(end-run)*osPage : end*osPage]
		run = 0
		return unix.Madvise(part, unix.MADV_DONTNEED)
	}
	n := m.size / osPage
	for page := range n {
		entry := binary.NativeEndian.Uint64(m.pages[8*page:])
		written := entry&pageSwapped != 0 || entry&(pagePresent|pageOfFile) == pagePresent
		if written && m.sights[page] < hotSights {
			if m.sights[page]++; m.sights[page] < hotSights || len(m.hot) >= maxHot {
				m.sights[page] = min(m.sights[page], hotSights-1)
				run++
				continue
			}
			m.hot = append(m.hot, uint32(page))
			copy(m.base[page*osPage:(page+1)*osPage], m.mapped.b[page*osPage:])
		}
		if err := give(page); err != nil {
			return err
		}
	}
	return give(n)
}
