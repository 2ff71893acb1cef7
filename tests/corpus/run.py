#!/usr/bin/env python3
"""Black-box HTTP/1.1 reverse-proxy judge (standard library only).
The proxy under test must forward to the recorder this program opens.

  run.py --target 127.0.0.1:8080 --backend tcp:127.0.0.1:9100 [--corpus http.jsonl]
         [--backend unix:/path.sock] [--only REGEX] [--cat NAME] [--json OUT] [-v]

Policy the proxy must enforce: POST on exactly PATH with 'Authorization: Bearer TOKEN' goes to the
backend, without Authorization and with one 'X-Guard-Auth: ok'; other paths 404, other methods 405
(+Allow), bad or no credential 401 (+WWW-Authenticate) or 403. Exit 1 on any FAIL.
FAIL: a MUST is broken or another hop / the policy is put at risk.  WARN: a SHOULD, or leniency
that RFC 9110 2.4 tolerates.  Only loopback and unix-socket targets are accepted.
"""
import argparse,base64,collections,json,os,re,select,socket,struct,sys,threading,time
TCHAR=frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
HEX=frozenset(b"0123456789abcdefABCDEF")
class Bad(Exception): pass
class More(Exception): pass

# ---------------------------------------------------------------- strict parser
def strict_head(buf,kind,notes):
    """-> (start tuple, [(name,value)], end offset). Raises More / Bad. notes: list of (sev,msg)."""
    end=buf.find(b"\r\n\r\n")
    lone=re.search(rb"(?<!\r)\n|\r(?!\n|\Z)",buf if end<0 else buf[:end+4])
    if lone: raise Bad("bare %s in head at %d"%("LF" if buf[lone.start():lone.start()+1]==b"\n" else "CR",lone.start()))
    if end<0: raise More()
    lines=buf[:end].split(b"\r\n"); sl=lines[0]; hs=[]
    for l in lines[1:]:
        if l[:1] in b" \t" and l: raise Bad("obs-fold or indented line")
        n,s,v=l.partition(b":")
        if not s: raise Bad("field line without colon: %r"%l[:40])
        if not n or not set(n)<=TCHAR: raise Bad("field name not a token: %r"%n[:40])
        v=v.strip(b" \t")
        for ch in v:
            if ch in (0,13,10): raise Bad("NUL/CR/LF in value of %r"%n)
            if (ch<32 and ch!=9) or ch==127: notes.append(("warn","CTL %#x in value of %r passed on"%(ch,n.decode())))
        hs.append((n.decode().lower(),v.decode("latin-1")))
    if kind=="req":
        p=sl.split(b" ")
        if len(p)!=3: raise Bad("request-line %r"%sl[:80])
        m,t,ver=p
        if not m or not set(m)<=TCHAR: raise Bad("method %r"%m[:40])
        if not re.fullmatch(rb"HTTP/1\.[01]",ver): raise Bad("version %r"%ver[:20])
        if not t or any(ch<=32 or ch==127 for ch in t): raise Bad("target %r"%t[:60])
        if b"#" in t: raise Bad("fragment in target")
        if any(ch>127 for ch in t): notes.append(("warn","non-ASCII target passed on"))
        start=(m.decode(),t.decode("latin-1"),ver.decode())
    else:
        mm=re.fullmatch(rb"(HTTP/1\.[01]) ([1-5]\d\d)( [\t -~\x80-\xff]*)?",sl)
        if not mm: raise Bad("status line %r"%sl[:60])
        start=(mm[1].decode(),int(mm[2]),"")
    return start,hs,end+4
def vals(hs,n): return [v for k,v in hs if k==n]
def framing(start,hs,kind,notes,allow_te=False):
    te=vals(hs,"transfer-encoding"); cl=vals(hs,"content-length")
    if te and cl: raise Bad("both Transfer-Encoding and Content-Length")
    if len(te)>1: raise Bad("several Transfer-Encoding lines")
    if len(cl)>1: raise Bad("several Content-Length lines")
    if te:
        if allow_te and te[0].lower()!="chunked": return "close",0
        if start[2 if kind=="req" else 0]=="HTTP/1.0": raise Bad("Transfer-Encoding in HTTP/1.0")
        v=te[0].lower()
        if v=="chunked": return "chunked",0
        if re.fullmatch(r"[a-z0-9-]+\s*,\s*chunked",v) and "chunked" not in v.split(",")[0]:
            notes.append(("warn","unknown coding passed on: %r"%te[0])); return "chunked",0
        raise Bad("Transfer-Encoding %r"%te[0])
    if cl:
        if not re.fullmatch(r"[0-9]+",cl[0],re.A): raise Bad("Content-Length %r"%cl[0][:40])
        return "cl",int(cl[0])
    return ("cl",0) if kind=="req" else ("close",0)
def strict_chunked(buf,pos,notes):
    body=b""
    while True:
        e=buf.find(b"\r\n",pos)
        seg=buf[pos:] if e<0 else buf[pos:e]
        if b"\n" in seg or b"\r" in seg[:-1] or (e>=0 and b"\r" in seg): raise Bad("bare CR/LF in chunk line %r"%seg[:40])
        if e<0:
            if len(seg)>200000: raise Bad("chunk line too long")
            raise More()
        sz,semi,ext=seg.partition(b";")
        if semi:
            sz=sz.rstrip(b" \t")
            if b"\0" in ext: raise Bad("NUL in chunk extension")
        if not sz or not set(sz)<=HEX: raise Bad("chunk-size %r"%seg[:40])
        n=int(sz,16); pos=e+2
        if n>1<<40: raise Bad("absurd chunk-size")
        if n==0: break
        if len(buf)<pos+n+2:
            t=buf[pos+n:pos+n+2]
            if t and t!=b"\r\n"[:len(t)]: raise Bad("chunk data not followed by CRLF")
            raise More()
        if buf[pos+n:pos+n+2]!=b"\r\n": raise Bad("chunk data not followed by CRLF")
        body+=buf[pos:pos+n]; pos+=n+2
    tr=[]
    while True:
        e=buf.find(b"\r\n",pos)
        if e<0:
            if b"\n" in buf[pos:]: raise Bad("bare LF in trailer")
            raise More()
        l=buf[pos:e]; pos=e+2
        if not l: return body,tr,pos
        n,s,v=l.partition(b":")
        if not s or not n or not set(n)<=TCHAR or re.search(rb"[\0\r\n]",v): raise Bad("trailer line %r"%l[:40])
        tr.append((n.decode().lower(),v.strip(b" \t").decode("latin-1")))

# ---------------------------------------------------------------- recorder (the backend)
# What the proxy asks of its backend by itself (health) is no request of a case: it has no Via, and is answered well.
OWN={"server/discover":None,"initialize":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"recorder","version":"1"}},
  "tools/list":{"tools":[{"name":"t","inputSchema":{"type":"object"}}]},"notifications/initialized":None}
def own_question(hs,b):
    m=re.search(rb'"method": ?"([a-z/]+)"',b)
    return not vals(hs,"via") and not vals(hs,"x-canary") and m and m[1].decode() in OWN
def own_answer(b):
    q=json.loads(b)
    if "id" not in q: return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
    r=OWN[q["method"]]; a=dict(jsonrpc="2.0",id=q["id"],**({"result":r} if r else {"error":{"code":-32601,"message":"Method not found"}}))
    t=json.dumps(a).encode(); return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"%len(t)+t
class Recorder:
    def __init__(s,spec):
        s.lock=threading.Lock(); s.reset(None)
        if spec.startswith("unix:"):
            p=spec[5:]
            if os.path.exists(p): os.unlink(p)
            s.sock=socket.socket(socket.AF_UNIX); s.sock.bind(p); os.chmod(p,0o666); s.port=0
        else:
            h,pt=spec[4:].rsplit(":",1); s.sock=socket.socket(); s.sock.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)
            assert h.startswith("127."),"loopback only"; s.sock.bind((h,int(pt))); s.port=int(pt)
        s.sock.listen(256); threading.Thread(target=s.loop,daemon=True).start()
    def reset(s,case):
        with s.lock: s.case=case; s.reqs=[]; s.flags=[]; s.raw=bytearray(); s.partial=0; s.used=False
    def loop(s):
        while True:
            c,_=s.sock.accept(); threading.Thread(target=s.serve,args=(c,),daemon=True).start()
    def serve(s,c):
        buf=b""; early=False
        try:
            while True:
                d=c.recv(262144)
                if not d:
                    if buf:
                        with s.lock: s.partial+=1
                    return
                with s.lock: s.raw+=d
                buf+=d
                while buf:
                    notes=[]
                    try:
                        st,hs,p=strict_head(buf,"req",notes); mode,n=framing(st,hs,"req",notes)
                        canary=vals(hs,"x-canary")
                        case=s.case
                        if mode=="chunked": b,tr,p=strict_chunked(buf,p,notes)
                        elif len(buf)<p+n:
                            if not canary and case and case.get("resp_early") and not early:
                                early=True; c.sendall(case["_resp"])
                            if vals(hs,"expect") and vals(hs,"expect")[0].lower()=="100-continue" and not early: early=True; c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                            raise More()
                        else: b,tr,p=buf[p:p+n],[],p+n
                    except More:
                        if b"\r\n\r\n" in buf and not early and re.search(rb"(?i)\r\nexpect: *100-continue\r\n",buf): early=True; c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                        break
                    except Bad as e:
                        with s.lock: s.flags.append(("fail","backend got malformed bytes: %s"%e))
                        c.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); return
                    nh=len(vals(hs,"host"))
                    if st[2]=="HTTP/1.1" and nh!=1: notes.append(("fail","%d Host lines passed on"%nh))
                    rec=dict(method=st[0],target=st[1],ver=st[2],hs=hs,body=b.decode("latin-1"),tr=tr,mode=mode,canary=bool(canary))
                    buf=buf[p:]; early_now,early=early,False
                    if own_question(hs,b): c.sendall(own_answer(b)); continue
                    with s.lock:
                        if not canary: s.reqs.append(rec); s.flags+=notes
                    case=s.case
                    if not canary and case and "resp" in case and not s.used:
                        s.used=True
                        if not(case.get("resp_early") and early_now) : c.sendall(case["_resp"])
                        e=case.get("resp_end","keep")
                        if e=="rst": c.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack("ii",1,0)); return
                        if e=="close": return
                        if e=="hold": time.sleep(2); return
                        continue
                    idv=canary[0] if canary else "case"
                    body=json.dumps({"jsonrpc":"2.0","id":1,"result":{"echo":idv}}).encode()
                    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"%len(body)+(b"" if st[0]=="HEAD" else body))
                    if "close" in [x.strip().lower() for v in vals(hs,"connection") for x in v.split(",")] or st[2]=="HTTP/1.0": return
        except OSError: pass
        finally: c.close()

# ---------------------------------------------------------------- client side
def parse_responses(data,eof,head_first,allow_te=False):
    """-> (list of dict(status,hs,body,complete), errors, leftover)"""
    out=[];err=[]
    while data:
        notes=[]
        try: st,hs,p=strict_head(data,"resp",notes)
        except More:
            if eof: out.append(dict(status=None,hs=[],body=b"",complete=False))
            return out,err,data
        except Bad as e: err.append("malformed answer: %s"%e); return out,err,data
        code=st[1]
        try: mode,n=framing(st,hs,"resp",notes,allow_te)
        except Bad as e: err.append("malformed answer: %s"%e); return out,err,data
        final_idx=len([r for r in out if r["status"] and r["status"]>=200])
        if code<200 or code in (204,304) or (head_first and final_idx==0): mode,n="cl",0
        r=dict(status=code,hs=hs,body=b"",complete=True)
        try:
            if mode=="chunked": r["body"],_,p=strict_chunked(data,p,notes)
            elif mode=="cl":
                r["body"]=data[p:p+n]; r["complete"]=len(data)>=p+n; p=min(len(data),p+n)
            else: r["body"]=data[p:]; r["complete"]=eof; p=len(data)
        except More: r["complete"]=False; r["body"]=data[p:]; p=len(data)
        except Bad as e: r["complete"]=False; err.append("malformed answer body: %s"%e); p=len(data)
        out.append(r); data=data[p:]
    return out,err,b""
class Conn:
    def __init__(s,addr):
        s.s=socket.create_connection(addr,5); s.s.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1); s.s.setblocking(False)
        s.data=b""; s.eof=False; s.rst=False
    def pump(s,t):
        """read for up to t seconds; True if something came"""
        if s.eof: return False
        r,_,_=select.select([s.s],[],[],max(t,0))
        if not r: return False
        try: d=s.s.recv(1<<18)
        except BlockingIOError: return False
        except OSError: s.eof=s.rst=True; return True
        if not d: s.eof=True
        s.data+=d; return True
    def send(s,b):
        v=memoryview(b); t0=time.time()
        while len(v) and not s.eof and time.time()-t0<8:
            r,w,_=select.select([s.s],[s.s],[],1)
            if r: s.pump(0)
            if w:
                try: n=s.s.send(v[:1<<16]); v=v[n:]
                except BlockingIOError: pass
                except OSError: s.pump(0.05); s.eof=s.rst=True
def run_case(case,a,exp):
    c=Conn(a.addr); head_first=exp(case["steps"][0].get("send","")).startswith(b"HEAD ")
    got100=None; n0=0
    for st in case["steps"]:
        if "drip_ms" in st:
            for x in exp(st["send"]): c.send(bytes([x])); time.sleep(st["drip_ms"]/1000)
        elif "send" in st: c.send(exp(st["send"]))
        if st.get("shutdown"):
            try: c.s.shutdown(socket.SHUT_WR)
            except OSError: pass
        if "await_100_ms" in st:
            end=time.time()+st["await_100_ms"]/1000
            while time.time()<end and not c.eof and b"\r\n\r\n" not in c.data: c.pump(end-time.time())
            got100=c.data.startswith(b"HTTP/1.1 100")
        w=st.get("wait_ms",0)/1000
        if w: c.pump(w)
    want=len(case.get("seq",[0])); quiet=case.get("quiet_ms",a.quiet)/1000; t0=time.time(); silent=a.silent/1000
    # On a busy machine a response may be late; silence is a result only where it may be one.
    if "wait" not in [*case.get("ok",[]),*case.get("nfw",[])]: silent=max(silent,5)
    if case.get("close")=="must": quiet=max(quiet,a.closewait/1000)
    while not c.eof:
        rs,_,left=parse_responses(c.data,False,head_first,True)
        fin=[r for r in rs if r["status"] and r["status"]>=200 and r["complete"]]
        if fin and not left:
            if not c.pump(quiet): break
        else:
            if not c.pump(max(silent,1.7) if rs and "resp" in case else silent): break
        if time.time()-t0>12: break
    try: c.s.close()
    except OSError: pass
    rs,err,left=parse_responses(c.data,c.eof,head_first,case.get("allow_resp_te",False))
    return dict(rs=rs,err=err,eof=c.eof,rst=c.rst,data=c.data,got100=got100)
def normpath(t):
    m=re.match(r"(?i)^https?://[^/?#]*",t)
    if m: t=t[m.end():] or "/"
    p,q,_=t.partition("?")
    p=re.sub(r"%([0-9A-Fa-f]{2})",lambda m:chr(int(m[1],16)) if re.match(r"[A-Za-z0-9._~-]",chr(int(m[1],16))) else m[0],p)
    o=[]; segs=p.split("/")
    for i,s_ in enumerate(segs):
        last=i==len(segs)-1
        if s_=="." : 
            if last:o.append("")
        elif s_=="..":
            if len(o)>1:o.pop()
            if last:o.append("")
        else:o.append(s_)
    return "/".join(o)
def judge(case,o,rec,a,exp):
    X=lambda t: exp(t).decode("latin-1"); fails=[];warns=[]
    reqs=rec.reqs; n=len(reqs); rs=o["rs"]
    fin=[r for r in rs if r["status"] and r["status"]>=200]
    status=fin[0]["status"] if fin else None
    for sev,m in rec.flags: (fails if sev=="fail" else warns).append(m)
    fails+=o["err"] if not case.get("raw_ok") and not (case.get("h2ok") and o["data"][:1]==b"\0") else []
    up="resp" in case
    # --- outcome
    if case.get("h2ok") and o["data"][3:4]==b"\4": oc="local"
    elif up:
        if not o["data"]: oc="truncated" if o["eof"] else "wait"
        elif status in (500,502,503,504): oc="gw"
        elif fin and fin[0]["complete"] and not o["err"]: oc="clean"
        elif o["eof"]: oc="truncated"
        else: oc="wait"
        if oc=="wait" and status is None and any(r["status"] for r in rs): oc="wait"
    elif n: oc="forward"
    elif status is None: oc="close" if o["eof"] else "wait"
    elif status>=400: oc="reject"
    else: oc="local"
    if up and fails and oc=="clean": oc="malformed"
    sent=b"".join(exp(s.get("send","")) for s in case["steps"])
    if oc in case["ok"]: pass
    elif oc=="reject" and status==411 and b"chunked" in sent.lower(): pass   # 9112 6.3: a server MAY answer 411
    elif oc in case.get("warn",[]): warns.append("outcome %s (better: %s)"%(oc,"/".join(case["ok"])))
    else: fails.append("outcome %s, allowed %s"%(oc,"/".join(case["ok"]+case.get("warn",[]))))
    if oc=="reject" and "status" in case and status not in case["status"] and not (status==411 and b"chunked" in sent.lower()):
        warns.append("status %d, expected %s"%(status,case["status"]))
    # --- what reached the backend
    nf=case.get("nfwd",1); mx=case.get("maxfwd",nf)
    if not case.get("nostrictcount") and n>mx: fails.append("%d requests reached the backend"%n)
    if case.get("maxfwd") and n>mx: fails.append("%d requests reached the backend"%n)
    if oc=="forward" and n<nf: (warns if n>=1 and o["eof"] else fails).append("only %d of %d requests were answered by the backend"%(n,nf))
    fw=case.get("fwd",{})
    for q in reqs:
        hs=q["hs"]
        if "SMUGGLED" in q["target"]: fails.append("smuggled request reached the backend: %s %s"%(q["method"],q["target"][:40]))
        if case.get("nosecond") and vals(hs,"x-mark")==["SMUGGLED"]: fails.append("second request was acted upon")
        t=q["target"]; base=t.partition("?")[0]
        if base!=a.path:
            if normpath(t)==a.path: warns.append("target passed on as %r"%t[:60])
            else: fails.append("other resource reached the backend: %r"%t[:80])
        if q["method"]!="POST": fails.append("method %s reached the backend"%q["method"])
        g=vals(hs,a.guard.lower())
        if a.guard and g!=["ok"]: fails.append("%s at the backend is %r"%(a.guard,g))
    if reqs:
        q=reqs[0]; hs=q["hs"]
        if "body" in fw and q["body"]!=X(fw["body"]): fails.append("body differs: %d octets %r"%(len(q["body"]),q["body"][:50]))
        if "target_in" in fw and q["target"] not in [X(t) for t in fw["target_in"]]:
            (warns if case.get("fwd_target_warn") and normpath(q["target"])==a.path else fails).append("target is %r"%q["target"][:60])
        for k in fw.get("hdr_absent",[]):
            if vals(hs,X(k).lower()): fails.append("field %s reached the backend"%X(k))
        for k in fw.get("hdr_absent_warn",[]):
            if vals(hs,X(k).lower()): warns.append("field %s reached the backend"%X(k))
        for k in fw.get("hdr_present_warn",[]):
            if not vals(hs,k): warns.append("no %s field added"%k)
        for k,v in fw.get("hdr_is",{}).items():
            if X(k).lower()!=a.guard.lower() and vals(hs,X(k).lower())!=v: fails.append("%s is %r"%(k,vals(hs,X(k).lower())))
        for k in fw.get("trailer_absent_warn",[]):
            if vals(q["tr"],X(k).lower()): warns.append("trailer field %s passed on"%X(k))
        for sev,key in ((fails,"hdr_never"),(warns,"hdr_never_warn")):
            for k,vs in fw.get(key,{}).items():
                for v in vs:
                    if X(v) in vals(hs,k): sev.append("%s: %r passed on"%(k,X(v)))
        for k,vs in fw.get("hdr_nosub",{}).items():
            for v in vs:
                if any(v in y.lower() for y in vals(hs,k)): fails.append("%s still holds %s"%(k,v))
        for k,v in fw.get("hdr_unchanged_warn",{}).items():
            if vals(hs,k)==[v]: warns.append("client's %s passed on unchanged"%k)
    if a.strip:
        heads="".join(q["target"]+"\n"+"\n".join(v for _,v in q["hs"]+q["tr"]) for q in reqs)
        if not reqs: heads=rec.raw.split(b"\r\n\r\n")[0].decode("latin-1")
        if a.token in heads: fails.append("token leaked to the backend")
    if "jr" in case:
        sent=exp(case["steps"][0]["send"]).partition(b"\r\n\r\n")[2].decode("latin-1")
        if reqs and case.get("body_intact") and reqs[0]["body"]!=sent: fails.append("body changed on the way")
        for k,v in case.get("fwd_hdr",{}).items():
            if reqs and vals(reqs[0]["hs"],k)!=[v]: fails.append("field %s not passed on"%k)
        if oc=="reject":
            if status not in case["jr"]["http"]: warns.append("status %s, accepted %s"%(status,case["jr"]["http"]))
            try: j=json.loads(fin[0]["body"]); code=j.get("error",{}).get("code") if isinstance(j,dict) and isinstance(j.get("error"),dict) else None
            except ValueError: code=None
            if code is None: warns.append("no JSON-RPC error in the answer")
            elif case["jr"]["code"] and code not in case["jr"]["code"]: warns.append("code %s, accepted %s"%(code,case["jr"]["code"]))
    # --- what the client saw
    low=o["data"]
    for v in case.get("never_resp",[])+["@TOKEN@"]:
        if exp(v) in low: fails.append("answer contains %s"%v)
    for k,h in case.get("resp_hdr",{}).items():
        if status==int(k) and not vals(fin[0]["hs"],h): fails.append("%s without %s"%(k,h))
    for k,h in case.get("resp_hdr_warn",{}).items():
        if status==int(k) and not vals(fin[0]["hs"],h): warns.append("%s without %s"%(k,h))
    if case.get("resp_framed") and fin and not vals(fin[0]["hs"],"content-length") and not vals(fin[0]["hs"],"transfer-encoding"): warns.append("answer delimited by close")
    if case.get("close")=="must" and fin and not o["eof"]: fails.append("connection not closed after the answer")
    if "seq" in case and oc=="forward":
        want=case["seq"]
        if len(fin)<len(want) and not (case.get("seq_close_ok") and o["eof"]): warns.append("%d answers for %d requests"%(len(fin),len(want)))
        if len(fin)>len(want): fails.append("%d answers for %d requests"%(len(fin),len(want)))
        for i,(r,w) in enumerate(zip(fin,want)):
            if r["status"] not in w: (fails if r["status"]<400 or i==0 else warns).append("answer %d is %d, expected %s"%(i+1,r["status"],w))
    elif not up and len(fin)>1 and n<=1 and not case.get("nosecond") and len(fin)-1>len(b"".join(exp(s.get("send","")) for s in case["steps"]))//20: fails.append("%d answers"%len(fin))
    if case.get("no100") and any(r["status"]==100 for r in rs): warns.append("100 sent to HTTP/1.0 client")
    if oc=="forward" and "seq" not in case and not case.get("nostrictcount") and not case.get("maxfwd") and status and status>=400: warns.append("forwarded, yet answered %d"%status)
    if oc=="forward" and status is None and "close" not in case["ok"]: warns.append("forwarded, no answer to the client")
    if up and oc=="clean":
        if status<400 and "want_body" in case and fin[0]["body"].decode("latin-1")!=case["want_body"]: fails.append("answer body %r"%fin[0]["body"][:40])
    if "want_body" in case and False: pass
    return oc,status,sorted(set(fails)),sorted(set(warns))
def canary(a,exp,k):
    c=Conn(a.addr); c.send(exp("POST @PATH@ HTTP/1.1\r\nHost: @HOST@\r\nAuthorization: Bearer @TOKEN@\r\nX-Canary: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 40\r\nConnection: close\r\n\r\n"%k+'{"jsonrpc":"2.0","id":1,"method":"ping"}'))
    t=time.time()
    while not c.eof and time.time()-t<3:
        if not c.pump(1.5): break
    c.s.close(); rs,err,_=parse_responses(c.data,c.eof,False)
    if err: return "canary: "+err[0]
    if not rs or rs[-1]["status"]!=200: return "canary after the case got %s"%(rs[-1]["status"] if rs else "nothing")
    if k.encode() not in rs[-1]["body"]: return "canary got another request's answer: %r"%rs[-1]["body"][:60]
def main():
    ap=argparse.ArgumentParser(description=__doc__,formatter_class=argparse.RawDescriptionHelpFormatter)
    here=os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("--target",required=True);ap.add_argument("--backend",default="tcp:127.0.0.1:9100")
    ap.add_argument("--corpus",default=os.path.join(here,"http.jsonl"))
    ap.add_argument("--path",default="/swf-monitor/mcp/");ap.add_argument("--token",default="s3cr3t-Tok3n-AbCdEf0123456789")
    ap.add_argument("--host",default="mcp.test");ap.add_argument("--guard",default="X-Guard-Auth")
    ap.add_argument("--no-strip",dest="strip",action="store_false")
    ap.add_argument("--only");ap.add_argument("--cat");ap.add_argument("--json");ap.add_argument("--name",default="proxy")
    ap.add_argument("--quiet",type=int,default=90);ap.add_argument("--silent",type=int,default=900);ap.add_argument("--closewait",type=int,default=1500)
    ap.add_argument("-v",action="store_true");ap.add_argument("--warn-ok",action="store_true",help="do not list warnings")
    ap.add_argument("--skip-cat",default="")
    a=ap.parse_args(); h,p=a.target.rsplit(":",1); assert h in("127.0.0.1","localhost","::1"),"loopback targets only"; a.addr=(h,int(p))
    rec=Recorder(a.backend)
    mac={"@HOST@":a.host,"@PATH@":a.path,"@TOKEN@":a.token,"@BADTOKEN@":"wr0ng-Tok3n-ZyXwVu9876543210","@GUARD@":a.guard,"@GUARD_U@":a.guard.replace("-","_"),"@GUARD_UP@":a.guard.upper(),"@BPORT@":str(rec.port),
      "@SWAPCASE(TOKEN)@":a.token.swapcase(),"@PREFIX(TOKEN)@":a.token[:-1],"@PCT(TOKEN)@":"".join("%%%02x"%ord(x) for x in a.token),"@B64(TOKEN)@":base64.b64encode(a.token.encode()).decode()}
    def exp(t):
        for k,v in mac.items():
            if k in t: t=t.replace(k,v)
        t=re.sub(r"@REP\((.*?),(\d+)\)@",lambda m:m[1]*int(m[2]),t,flags=re.S)
        def L(m): return ("%x" if m[1]=="XLEN" else "%d")%(len(m[3])+int(m[2]))
        for _ in range(3):
            if "LEN" not in t: break
            t=re.sub(r"@(X?LEN)(\d+)\[(.*?)\]@",L,t,flags=re.S)
        return t.encode("latin-1")
    cases=[json.loads(l) for l in open(a.corpus) if l.strip()]
    cases=[c for c in cases if (not a.only or re.search(a.only,c["id"])) and (not a.cat or c["cat"]==a.cat) and c["cat"] not in a.skip_cat.split(",")]
    e=None
    for i in range(50):
        try: e=canary(a,exp,"warmup"); 
        except OSError as x: e=str(x)
        if not e: break
        time.sleep(0.1)
    if e: print("the proxy does not serve the good request:",e); return 2
    tab=collections.OrderedDict(); res=[]; t0=time.time()
    for i,c in enumerate(cases):
        if "resp" in c: c["_resp"]=exp(c["resp"])
        rec.reset(c)
        try: o=run_case(c,a,exp)
        except OSError as x: o=dict(rs=[],err=["connect: %s"%x],eof=True,rst=True,data=b"",got100=None)
        time.sleep(0.02)
        with rec.lock: snap=collections.namedtuple("S","reqs flags raw partial")(list(rec.reqs),list(rec.flags),bytes(rec.raw),rec.partial)
        oc,st,f,w=judge(c,o,snap,a,exp)
        try: ce=canary(a,exp,"cn%d"%i)
        except OSError as x: ce="canary: %s"%x
        with rec.lock:
            late=[q for q in rec.reqs[len(snap.reqs):]]; lf=[m for s_,m in rec.flags[len(snap.flags):] if s_=="fail"]
        if any("SMUGGLED" in q["target"] or (c.get("nosecond") and vals(q["hs"],"x-mark")==["SMUGGLED"]) for q in late): f.append("smuggled request reached the backend late")
        if lf: f+=["late: "+m for m in lf if "late: "+m not in f and m not in f]
        if ce:
            f.append(ce)
        v="FAIL" if f else "WARN" if w else "PASS"
        row=tab.setdefault(c["cat"],collections.Counter()); row[v]+=1
        res.append(dict(id=c["id"],cat=c["cat"],title=c["title"],ref=c["ref"],verdict=v,outcome=oc,status=st,fails=f,warns=w))
        if v=="FAIL" or (v=="WARN" and not a.warn_ok) or a.v:
            print("%-4s %-9s %s | %s %s | %s"%(v,c["id"],c["title"][:70].encode("ascii","backslashreplace").decode(),oc,st or "-","; ".join(f+w)[:200].encode("ascii","backslashreplace").decode()))
    tot=collections.Counter()
    print("\n%-20s %5s %5s %5s %5s"%(a.name,"cases","PASS","WARN","FAIL"))
    for k,r in tab.items():
        print("%-20s %5d %5d %5d %5d"%(k,sum(r.values()),r["PASS"],r["WARN"],r["FAIL"])); tot+=r
    print("%-20s %5d %5d %5d %5d   (%.0f s)"%("total",sum(tot.values()),tot["PASS"],tot["WARN"],tot["FAIL"],time.time()-t0))
    if a.json: json.dump(dict(name=a.name,total=dict(tot),cats={k:dict(v) for k,v in tab.items()},cases=res),open(a.json,"w"),indent=0)
    print("%d passed, %d failed"%(tot["PASS"]+tot["WARN"],tot["FAIL"]))
    return 1 if tot["FAIL"] else 0
if __name__=="__main__": sys.exit(main())
