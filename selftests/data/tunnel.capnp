# SPDX-License-Identifier: Apache-2.0
# Schema of the tunnel protocol for the capnp tool. Written from the layouts in docs/protocol.md; type
# names are ours, layouts are the wire's. AnyPointer stands where a payload depends on the method.
@0xd41d8cd98f00b204;

struct Metadata @0xe1446b97bfd1cd37 { key @0 :Text; val @1 :Text; }
struct ConnectRequest @0xc47116a1045e4061 { dest @0 :Text; type @1 :UInt16; metadata @2 :List(Metadata); }
struct ConnectResponse @0xb1032ec91cef8727 { error @0 :Text; metadata @1 :List(Metadata); }

struct TunnelAuth @0x9496331ab9cd463f { accountTag @0 :Text; tunnelSecret @1 :Data; }
struct ClientInfo @0x83ced0145b2f114b { clientId @0 :Data; features @1 :List(Text); version @2 :Text; arch @3 :Text; }
struct ConnectionOptions @0xb4bf9861fe035d04 {
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
struct ConnectionError @0xf5f383d2785edb86 { cause @0 :Text; retryAfter @1 :Int64; shouldRetry @2 :Bool; }
struct ConnectionDetails @0xb5f39f082b9ac18a {
  uuid @0 :Data;
  locationName @1 :Text;
  tunnelIsRemotelyManaged @2 :Bool;
}
struct ConnectionResponse @0xdbaa9d03d52b62dc {
  union {
    error @0 :ConnectionError;
    connectionDetails @1 :ConnectionDetails;
  }
}
struct RegisterResults { result @0 :ConnectionResponse; }
struct LocalConfigurationParams { config @0 :Data; }
struct Empty {}

struct RegisterUdpSessionParams {
  sessionId @0 :Data;
  dstIp @1 :Data;
  dstPort @2 :UInt16;
  closeAfterIdleHint @3 :Int64;
  traceContext @4 :Text;
}
struct RegisterUdpSessionResponse @0xab6d5210c1f26687 { err @0 :Text; spans @1 :Data; }
struct RegisterUdpSessionResults { result @0 :RegisterUdpSessionResponse; }
struct UnregisterUdpSessionParams { sessionId @0 :Data; message @1 :Text; }
struct UpdateConfigurationParams { version @0 :Int32; config @1 :Data; }
struct UpdateConfigurationResponse @0xdb58ff694ba05cf9 {
  latestAppliedVersion @0 :Int32;
  err @1 :Text;
}
struct UpdateConfigurationResults { result @0 :UpdateConfigurationResponse; }

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
