# SPDX-License-Identifier: Apache-2.0
# Schema of the tunnel protocol for the capnp tool. Written from the layouts in docs/protocol.md; type
# names are ours, layouts are the wire's. AnyPointer stands where a payload depends on the method.
@0xd41d8cd98f00b204;

struct Metadata { key @0 :Text; val @1 :Text; }
struct ConnectRequest { dest @0 :Text; type @1 :UInt16; metadata @2 :List(Metadata); }
struct ConnectResponse { error @0 :Text; metadata @1 :List(Metadata); }

struct TunnelAuth { accountTag @0 :Text; tunnelSecret @1 :Data; }
struct ClientInfo { clientId @0 :Data; features @1 :List(Text); version @2 :Text; arch @3 :Text; }
struct ConnectionOptions {
  client @0 :ClientInfo;
  originLocalIp @1 :Data;
  replaceExisting @2 :Bool;
  compressionQuality @3 :UInt8;
  numPreviousAttempts @4 :UInt8;
}
struct RegisterParams {
  auth @0 :TunnelAuth;
  tunnelId @1 :Data;
  connIndex @2 :UInt8;
  options @3 :ConnectionOptions;
}
struct ConnectionError { cause @0 :Text; retryAfter @1 :Int64; shouldRetry @2 :Bool; }
struct ConnectionDetails {
  uuid @0 :Data;
  locationName @1 :Text;
  tunnelIsRemotelyManaged @2 :Bool;
}
struct ConnectionResponse {
  union {
    error @0 :ConnectionError;
    connectionDetails @1 :ConnectionDetails;
  }
}
struct RegisterResults { result @0 :ConnectionResponse; }
struct LocalConfigurationParams { config @0 :Data; }

struct Exception { reason @0 :Text; obsolete @1 :Bool; type @2 :UInt16; }
struct MessageTarget {
  union {
    importedCap @0 :UInt32;
    promisedAnswer @1 :PromisedAnswer;
  }
}
struct PromisedAnswer { questionId @0 :UInt32; transform @1 :List(Op);
  struct Op { union { noop @0 :Void; getPointerField @1 :UInt16; } }
}
struct CapDescriptor {
  union {
    none @0 :Void;
    senderHosted @1 :UInt32;
    senderPromise @2 :UInt32;
    receiverHosted @3 :UInt32;
    receiverAnswer @4 :PromisedAnswer;
    thirdPartyHosted @5 :AnyPointer;
  }
}
struct Payload { content @0 :AnyPointer; capTable @1 :List(CapDescriptor); }
struct Bootstrap { questionId @0 :UInt32; deprecatedObjectId @1 :AnyPointer; }
struct Call {
  questionId @0 :UInt32;
  target @1 :MessageTarget;
  interfaceId @2 :UInt64;
  methodId @3 :UInt16;
  params @4 :Payload;
  sendResultsTo :union { caller @5 :Void; yourself @6 :Void; thirdParty @7 :AnyPointer; }
  allowThirdPartyTailCall @8 :Bool;
}
struct Return {
  answerId @0 :UInt32;
  releaseParamCaps @1 :Bool = true;
  union {
    results @2 :Payload;
    exception @3 :Exception;
    canceled @4 :Void;
    resultsSentElsewhere @5 :Void;
    takeFromOtherQuestion @6 :UInt32;
    acceptFromThirdParty @7 :AnyPointer;
  }
}
struct Finish { questionId @0 :UInt32; releaseResultCaps @1 :Bool = true; }
struct Release { id @0 :UInt32; referenceCount @1 :UInt32; }
struct Message {
  union {
    unimplemented @0 :Message;
    abort @1 :Exception;
    call @2 :Call;
    return @3 :Return;
    finish @4 :Finish;
    resolve @5 :AnyPointer;
    release @6 :Release;
    obsoleteSave @7 :AnyPointer;
    bootstrap @8 :Bootstrap;
    obsoleteDelete @9 :AnyPointer;
    provide @10 :AnyPointer;
    accept @11 :AnyPointer;
    join @12 :AnyPointer;
    disembargo @13 :AnyPointer;
  }
}
