// Makes the console's pages nicer. Everything works without it: whatever is done
// here ends in the same forms and links. Elements ask for a behaviour by a data
// attribute; parts of pages that arrive later are set up like the page itself.
"use strict";
(() => {
	document.documentElement.classList.add("scripted");
	const csrf = () => document.body.dataset.csrf || "";
	const status = document.getElementById("status");
	const say = (text) => { status.textContent = ""; requestAnimationFrame(() => { status.textContent = text; }); };

	// Text from our own server may become markup, nothing else: see the pages' policy.
	const policy = window.trustedTypes
		? window.trustedTypes.createPolicy("lamina", { createHTML: (text) => text })
		: { createHTML: (text) => text };
	const parse = (text) => new DOMParser().parseFromString(policy.createHTML(text), "text/html");

	// swap puts the main part of a page that was fetched in place of the present one.
	const swap = (text, url) => {
		const fresh = parse(text);
		const main = fresh.querySelector("main");
		if (!main) { location.assign(url); return; }
		document.title = fresh.title;
		document.querySelector("main").replaceWith(main);
		if (url) history.replaceState(null, "", url);
		setUp(main);
		main.focus();
	};

	const behaviours = {
		// data-copy="text": copies it.
		copy(button) {
			button.addEventListener("click", async () => {
				const text = button.dataset.copy, before = button.textContent;
				try { await navigator.clipboard.writeText(text); } catch {
					const area = document.createElement("textarea");
					area.value = text;
					document.body.append(area);
					area.select();
					document.execCommand("copy");
					area.remove();
					button.focus();
				}
				button.textContent = "Copied";
				say("Copied");
				setTimeout(() => { button.textContent = before; }, 1500);
			});
		},

		// data-submit: a field that sends its form when it changes.
		submit(field) {
			field.addEventListener("change", () => field.form.requestSubmit());
		},

		// data-filter="#id": a field that hides the rows of a table, or the items of a
		// list, which do not contain its words.
		filter(field) {
			const target = document.querySelector(field.dataset.filter);
			if (!target) return;
			const rows = () => target.tBodies ? [...target.tBodies].flatMap((b) => [...b.rows]) : [...target.children];
			let timer = 0;
			field.addEventListener("input", () => {
				const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
				let shown = 0;
				for (const row of rows()) {
					const text = row.textContent.toLowerCase();
					row.hidden = !words.every((w) => text.includes(w));
					if (!row.hidden) shown++;
				}
				clearTimeout(timer);
				timer = setTimeout(() => say(shown + " shown"), 400);
			});
		},

		// data-output="#id": a slider, or any field, that shows its value elsewhere.
		output(field) {
			const out = document.querySelector(field.dataset.output);
			const tell = () => { if (out) out.textContent = field.value; };
			field.addEventListener("input", tell);
			tell();
		},

		// data-mirror="#id": a slider that moves with a number field, and moves it.
		mirror(slider) {
			const field = document.querySelector(slider.dataset.mirror);
			if (!field) return;
			const follow = () => { slider.value = field.value; };
			slider.addEventListener("input", () => {
				field.value = slider.value;
				field.dispatchEvent(new Event("change", { bubbles: true }));
			});
			field.addEventListener("input", follow);
			follow();
		},

		// data-revision="…" data-modified="…": the revision of a function whose update is done,
		// for the forms that were shown before, unless somebody changed the function since.
		revision(news) {
			const shown = document.querySelector(".state[data-modified]");
			if (!shown || shown.dataset.modified !== news.dataset.modified) return;
			for (const field of document.querySelectorAll("input[data-latest]")) field.value = news.dataset.revision;
		},

		// data-preview="path": a form with layers whose merged view, #merged, is fetched
		// again when their order changes, before anything is saved.
		preview(form) {
			let turn = 0;
			form.addEventListener("change", async () => {
				const mine = ++turn, query = new URLSearchParams();
				for (const [name, value] of new FormData(form)) {
					if (["layer", "add", "addarn"].includes(name) && value.trim()) query.append("layer", value.trim());
				}
				if (!query.size) query.set("none", "1");
				try {
					const answer = await fetch(form.dataset.preview + "?" + query, { headers: { "X-Console-Part": "1" } });
					const fresh = answer.ok && parse(await answer.text()).querySelector("#merged");
					const old = document.querySelector("#merged");
					if (mine !== turn || !fresh || !old) return;
					old.replaceWith(fresh);
					setUp(fresh);
					const note = document.createElement("p");
					note.className = "note warn";
					note.textContent = "This is a preview: nothing is saved yet.";
					fresh.prepend(note);
					say("The view of /opt is a preview now");
				} catch { /* the button Preview does the same */ }
			});
		},

		// data-events="key" data-field="#id": events that this browser keeps, to choose from.
		events(box) {
			const key = "lamina-events " + box.dataset.events, field = document.querySelector(box.dataset.field);
			const list = box.querySelector("[data-saved]"), name = box.querySelector("[data-name]");
			const most = 50, largest = 256 * 1024; // events, characters
			const read = () => {
				try { return Object.entries(JSON.parse(localStorage.getItem(key)) || {}).filter(([, text]) => typeof text === "string"); } catch { return []; }
			};
			const write = (all) => {
				try { localStorage.setItem(key, JSON.stringify(Object.fromEntries(all))); return true; } catch { say("The browser keeps no more events"); return false; }
			};
			const show = (chosen) => {
				list.replaceChildren(new Option("", ""), ...read().map(([n]) => new Option(n, n, false, n === chosen)));
			};
			list.addEventListener("change", () => {
				const found = read().find(([n]) => n === list.value);
				if (!found) return;
				name.value = found[0];
				field.value = found[1];
			});
			box.querySelector("[data-save]").addEventListener("click", () => {
				const called = name.value.trim();
				if (!called) { name.focus(); say("Give the event a name"); return; }
				const all = read().filter(([n]) => n !== called);
				if (all.length >= most || field.value.length > largest) { say("The browser keeps no more events"); return; }
				if (write([...all, [called, field.value]])) { show(called); say("Event " + called + " saved"); }
			});
			box.querySelector("[data-forget]").addEventListener("click", () => {
				const called = list.value || name.value.trim();
				if (write(read().filter(([n]) => n !== called))) { show(""); name.value = ""; say("Event deleted"); }
			});
			show("");
		},

		// data-drop: takes files that are dropped for the file field within.
		drop(zone) {
			const field = zone.querySelector("input[type=file]"), name = zone.querySelector("[data-name]");
			const tell = () => {
				if (name && field.files.length) name.textContent = [...field.files].map((f) => f.name + ", " + size(f.size)).join("; ");
			};
			field.addEventListener("change", tell);
			for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (e) => { e.preventDefault(); zone.classList.add("over"); });
			for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
			zone.addEventListener("drop", (e) => {
				e.preventDefault();
				if (!e.dataTransfer.files.length) return;
				field.files = e.dataTransfer.files;
				field.dispatchEvent(new Event("change", { bubbles: true }));
			});
		},

		// data-upload: a form with a file that shows its progress. Files of more than
		// data-most bytes are not sent.
		upload(form) {
			form.addEventListener("submit", (e) => {
				e.preventDefault();
				const bar = form.querySelector("progress"), text = form.querySelector("[data-progress]");
				const most = Number(form.dataset.most) || Infinity; // bytes of a file
				if ([...form.querySelectorAll("input[type=file]")].some((f) => [...f.files].some((file) => file.size > most))) {
					const wrong = "The file is larger than " + size(most) + ". Put it into a bucket and publish it from there.";
					if (text) text.textContent = wrong;
					say(wrong);
					return;
				}
				const buttons = form.querySelectorAll("button");
				const request = new XMLHttpRequest();
				const body = new FormData(form, e.submitter);
				let told = 0;
				request.upload.addEventListener("progress", (p) => {
					if (!p.lengthComputable || !bar) return;
					bar.hidden = false;
					bar.max = p.total;
					bar.value = p.loaded;
					const percent = Math.floor(100 * p.loaded / p.total);
					if (text) text.textContent = p.loaded < p.total ? size(p.loaded) + " of " + size(p.total) : "Sent; the server is checking it…";
					if (percent >= told + 25) { told = percent; say(percent + " percent sent"); }
				});
				const end = (wrong) => {
					for (const b of buttons) b.disabled = false;
					if (bar) bar.hidden = true;
					if (text) text.textContent = wrong;
					if (wrong) say(wrong);
				};
				request.addEventListener("load", () => {
					end("");
					// The page that a success led to was fetched with its note: fetched again, it has none.
					if (request.status < 300) { swap(request.responseText, request.responseURL); return; }
					const kept = [...form.querySelectorAll("input[type=file]")].map((f) => [f.name, f.files]);
					swap(request.responseText, "");
					for (const [name, files] of kept) {
						const field = document.querySelector('main input[type=file][name="' + CSS.escape(name) + '"]');
						if (!field || !files.length) continue;
						field.files = files;
						field.dispatchEvent(new Event("change", { bubbles: true }));
					}
				});
				request.addEventListener("error", () => end("The connection broke. Nothing was published."));
				request.open(form.method, form.action);
				request.setRequestHeader("X-Csrf-Token", csrf());
				for (const b of buttons) b.disabled = true;
				request.send(body);
			});
		},

		// data-sortable: a list whose items are moved by dragging their grip, or by the
		// buttons data-move="-1" and "1" in them. The order of the fields is the order sent.
		sortable(list) {
			const number = () => {
				const items = [...list.children];
				items.forEach((item, i) => {
					for (const b of item.querySelectorAll("[data-move]")) b.disabled = b.dataset.move < 0 ? i === 0 : i === items.length - 1;
					const place = item.querySelector("[data-place]");
					if (place) place.textContent = i + 1;
				});
			};
			const move = (item, by) => {
				const other = by < 0 ? item.previousElementSibling : item.nextElementSibling;
				if (!other) return;
				if (by < 0) other.before(item); else other.after(item);
				number();
				say((item.dataset.label || "Item") + " is now at place " + ([...list.children].indexOf(item) + 1));
				list.dispatchEvent(new Event("change", { bubbles: true }));
			};
			list.addEventListener("click", (e) => {
				const button = e.target.closest("[data-move]");
				if (button) {
					const item = button.closest("li");
					move(item, Number(button.dataset.move));
					(button.disabled ? item.querySelector("[data-move]:not(:disabled)") || button : button).focus();
				}
				const remove = e.target.closest("[data-remove]");
				if (remove) {
					const item = remove.closest("li");
					say((item.dataset.label || "Item") + " removed");
					(item.nextElementSibling || item.previousElementSibling || list).querySelector?.("button")?.focus();
					item.remove();
					number();
					list.dispatchEvent(new Event("change", { bubbles: true }));
				}
			});
			// Pointer events serve mouse, pen and finger alike.
			list.addEventListener("pointerdown", (e) => {
				const grip = e.target.closest(".grip");
				if (!grip) return;
				const item = grip.closest("li");
				e.preventDefault();
				grip.setPointerCapture(e.pointerId);
				item.classList.add("dragged");
				// The neighbours move, not the item, which would lose the pointer.
				const middle = (other) => { const box = other.getBoundingClientRect(); return box.top + box.height / 2; };
				const onMove = (m) => {
					for (let other; (other = item.previousElementSibling) && m.clientY < middle(other);) item.after(other);
					for (let other; (other = item.nextElementSibling) && m.clientY > middle(other);) item.before(other);
				};
				const onUp = () => {
					grip.removeEventListener("pointermove", onMove);
					item.classList.remove("dragged");
					number();
					say((item.dataset.label || "Item") + " is now at place " + ([...list.children].indexOf(item) + 1));
					list.dispatchEvent(new Event("change", { bubbles: true }));
				};
				grip.addEventListener("pointermove", onMove);
				grip.addEventListener("pointerup", onUp, { once: true });
				grip.addEventListener("pointercancel", onUp, { once: true });
			});
			number();
		},

		// data-load="path": a part of the page that is fetched once, as it takes long. The
		// answer is the part's new content.
		async load(part) {
			try {
				const answer = await fetch(part.dataset.load, { headers: { "X-Console-Part": "1" } });
				if (!answer.ok) throw new Error(answer.statusText);
				part.replaceChildren(...parse(await answer.text()).body.childNodes);
				setUp(part);
			} catch { part.append(" That did not work: reload the page to try again."); }
			part.removeAttribute("aria-busy");
		},

		// data-refresh="path": a part of the page that is fetched again every data-every
		// milliseconds while the page is visible, until an answer has the header X-Done.
		// The answer is the part's new content. It waits while the focus is in the part.
		refresh(part) {
			const every = Math.max(500, Number(part.dataset.every) || 5000);
			const again = async () => {
				if (!part.isConnected) return;
				if (!document.hidden && !part.contains(document.activeElement)) {
					try {
						const answer = await fetch(part.dataset.refresh, { headers: { "X-Console-Part": "1" } });
						if (answer.status === 401) return;
						if (answer.ok) {
							part.replaceChildren(...parse(await answer.text()).body.childNodes);
							setUp(part);
							if (answer.headers.get("X-Done")) return;
						}
					} catch { /* the server is away; the next try may find it */ }
				}
				setTimeout(again, every);
			};
			setTimeout(again, every);
		},

		// data-tail="path": a log that grows. The answer is text; its header X-Next is
		// where the next one begins, as the parameter next.
		tail(log) {
			const toggle = document.querySelector("[data-tail-toggle]");
			let next = log.dataset.next || "", running = true;
			const most = 500_000; // characters that stay on the page
			if (toggle) toggle.addEventListener("click", () => {
				running = !running;
				toggle.textContent = running ? "Pause" : "Resume";
				toggle.setAttribute("aria-pressed", String(!running));
			});
			const again = async () => {
				if (!log.isConnected) return;
				let wait = 1500;
				if (running && !document.hidden) {
					try {
						const url = new URL(log.dataset.tail, location.href);
						if (next) url.searchParams.set("next", next);
						const answer = await fetch(url, { headers: { "X-Console-Part": "1" } });
						if (answer.status === 401) { say("The session has ended"); return; }
						if (answer.ok) {
							const text = await answer.text();
							const end = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
							if (text) {
								log.append(text);
								while (log.textContent.length > most && log.childNodes.length > 1) log.firstChild.remove();
								if (end) log.scrollTop = log.scrollHeight;
							}
							if (answer.headers.get("X-Next")) next = answer.headers.get("X-Next");
							if (answer.headers.get("X-More")) wait = 0;
						}
					} catch { wait = 4000; }
				}
				setTimeout(again, wait);
			};
			log.scrollTop = log.scrollHeight;
			again();
		},

		// data-fill="#id" data-value="text": a button that puts a text into a field.
		fill(button) {
			button.addEventListener("click", () => {
				const field = document.querySelector(button.dataset.fill);
				field.value = button.dataset.value;
				field.dispatchEvent(new Event("input", { bubbles: true }));
				field.focus();
			});
		},

		// data-add="#template": a button that adds a copy of a template before itself.
		add(button) {
			button.addEventListener("click", () => {
				const copy = document.querySelector(button.dataset.add).content.cloneNode(true);
				const first = copy.querySelector("input, select, textarea");
				setUp(copy);
				button.before(copy);
				if (first) first.focus();
			});
		},
	};

	const size = (n) => n < 1024 ? n + " bytes" : n < 1 << 20 ? (n / 1024).toFixed(1) + " KB" : (n / (1 << 20)).toFixed(1) + " MB";

	function setUp(root) {
		for (const [name, start] of Object.entries(behaviours)) {
			for (const element of root.querySelectorAll("[data-" + name + "]")) start(element);
		}
	}
	setUp(document);
})();
