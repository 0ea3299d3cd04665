package protocol

import (
	"slices"
	"testing"
)

func TestParseRanges(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"7":                        "7",
		"3-9":                      "3-9",
		"10-12,1,4":                "1,4,10-12",
		"1-3,2-5,6,8":              "1-6,8",
		"5,5,5":                    "5",
		"2-4,1-9":                  "1-9",
		"1-99999999999":            "1-1048576",
		"0":                        "E-BAD-REQUEST",
		"4-3":                      "E-BAD-REQUEST",
		"1,":                       "E-BAD-REQUEST",
		"1-2-3":                    "E-BAD-REQUEST",
		"-1":                       "E-BAD-REQUEST",
		"a":                        "E-BAD-REQUEST",
		"1048577":                  "E-BAD-REQUEST",
		" 1":                       "E-BAD-REQUEST",
		"1-9999999999999999999999": "E-BAD-REQUEST",
	} {
		got, err := ParseRanges(text)
		said := got.String()
		if err != nil {
			said = string(CodeOf(err))
		}
		if said != want {
			t.Errorf("%q is %q, want %q", text, said, want)
		}
	}
}

func TestRangesOfAJob(t *testing.T) {
	which, err := ParseRanges("2-4,8,10-20")
	if err != nil {
		t.Fatal(err)
	}
	which, err = which.Of(12)
	if err != nil || which.String() != "2-4,8,10-12" || which.Count(12) != 7 {
		t.Errorf("of 12 tasks they are %s, %d, %v", which, which.Count(12), err)
	}
	for i := range uint64(14) {
		if want := slices.Contains([]uint64{2, 3, 4, 8, 10, 11, 12}, i); which.Has(i) != want {
			t.Errorf("it has %d: %v", i, !want)
		}
	}
	if _, err := (Ranges{{13, 14}}).Of(12); CodeOf(err) != CodeNotFound {
		t.Errorf("none of them is said to be %v", err)
	}
	if all, err := Ranges(nil).Of(12); err != nil || all != nil || !all.Has(99) || all.Count(12) != 12 {
		t.Errorf("all are %v, %v", all, err)
	}
}

func TestResultsOfTasksRunAgainAreStale(t *testing.T) {
	passed := func(number, index uint64) *JobResult {
		return &JobResult{Number: number, Index: index, Result: new(Result)}
	}
	failed := func(number, index uint64) *JobResult {
		return &JobResult{Number: number, Index: index, Result: &Result{ExitCode: 1}}
	}
	j := &Job{Results: 4, RetryAfter: 2}
	if !j.Stale(failed(2, 1)) || j.Stale(failed(3, 1)) || j.Stale(passed(1, 2)) {
		t.Error("failures up to a number are stale, and no others")
	}
	if err := j.RunAgain(Ranges{{3, 5}, {9, 9}}); err != nil {
		t.Fatal(err)
	}
	if !j.Stale(passed(4, 3)) || !j.Stale(failed(4, 9)) || j.Stale(passed(5, 3)) || j.Stale(passed(4, 6)) {
		t.Error("what tasks had that are run again is stale, and nothing else")
	}
	j.Results = 6
	for range 10_000 {
		if err := j.RunAgain(Ranges{{3, 5}, {9, 9}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(j.Reruns) != 2 || !j.Stale(passed(6, 5)) {
		t.Errorf("the same again and again makes %v", j.Reruns)
	}
	if j.OnlyRanges().String() != "3-5,9" {
		t.Errorf("it is open for %s", j.OnlyRanges())
	}
	var err error
	for i := uint64(1); err == nil && i < 1<<20; i += 2 {
		err = j.RunAgain(Ranges{{i, i}})
	}
	if CodeOf(err) != CodeBusy || len(j.Reruns) > maxReruns {
		t.Errorf("%d reruns are kept, %v", len(j.Reruns), err)
	}
}

func TestHaltIsDue(t *testing.T) {
	for _, c := range []struct {
		halt           *Halt
		passed, failed uint64
		want           bool
	}{
		{nil, 100, 100, false},
		{&Halt{Count: 2}, 9, 1, false},
		{&Halt{Count: 2}, 0, 2, true},
		{&Halt{Count: 2, Passed: true}, 1, 9, false},
		{&Halt{Count: 2, Passed: true}, 2, 0, true},
		{&Halt{Count: 10, Ended: true}, 5, 4, false},
		{&Halt{Count: 10, Ended: true}, 5, 5, true},
		{&Halt{Percent: 10}, 50, 9, false},
		{&Halt{Percent: 10}, 0, 10, true},
		{&Halt{Percent: 50, Ended: true}, 49, 1, true},
	} {
		if got := c.halt.Due(100, c.passed, c.failed); got != c.want {
			t.Errorf("%v of 100 with %d and %d: %v", c.halt, c.passed, c.failed, got)
		}
	}
	passed, failed := &JobResult{Result: new(Result)}, &JobResult{Result: &Result{Code: "E-TRAP"}}
	if h := (&Halt{Count: 1}); h.Counts(passed) || !h.Counts(failed) {
		t.Error("failures count alone")
	}
	if h := (&Halt{Count: 1, Ended: true}); !h.Counts(passed) || !h.Counts(failed) {
		t.Error("all that end count")
	}
}

func FuzzParseRanges(f *testing.F) {
	f.Add("1,4,10-12")
	f.Add("3-9,1-5")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRanges(text)
		if err != nil {
			return
		}
		again, err := ParseRanges(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q is %s, and that is %s (%v)", text, r, again, err)
		}
		for i, one := range r {
			if one.First == 0 || one.Last < one.First || one.Last > MaxJobTasks || i > 0 && one.First <= r[i-1].Last+1 {
				t.Fatalf("%q is %v", text, r)
			}
		}
	})
}
