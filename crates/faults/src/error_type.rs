//! The error types of `Proxy-Status` (RFC 9209 section 2.3), each with its token and its recommended status.

use std::fmt;

macro_rules! error_types {
    ($( $variant:ident $token:literal $status:literal, )*) => {
        /// A registered proxy error type.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ErrorType {
            $( #[doc = concat!("`", $token, "`")] $variant, )*
        }

        impl ErrorType {
            /// Every registered type, in the order of the RFC.
            pub const ALL: &'static [ErrorType] = &[$(ErrorType::$variant),*];

            /// The token on the wire.
            pub fn token(self) -> &'static str {
                match self { $( ErrorType::$variant => $token, )* }
            }

            /// The status that the RFC recommends. A row may differ: a target that policy denies is answered with 403.
            pub fn recommended_status(self) -> u16 {
                match self { $( ErrorType::$variant => $status, )* }
            }
        }
    };
}

error_types! {
    DnsTimeout "dns_timeout" 504,
    DnsError "dns_error" 502,
    DestinationNotFound "destination_not_found" 500,
    DestinationUnavailable "destination_unavailable" 503,
    DestinationIpProhibited "destination_ip_prohibited" 502,
    DestinationIpUnroutable "destination_ip_unroutable" 502,
    ConnectionRefused "connection_refused" 502,
    ConnectionTerminated "connection_terminated" 502,
    ConnectionTimeout "connection_timeout" 504,
    ConnectionReadTimeout "connection_read_timeout" 504,
    ConnectionWriteTimeout "connection_write_timeout" 504,
    ConnectionLimitReached "connection_limit_reached" 503,
    TlsProtocolError "tls_protocol_error" 502,
    TlsCertificateError "tls_certificate_error" 502,
    TlsAlertReceived "tls_alert_received" 502,
    HttpRequestError "http_request_error" 400,
    HttpRequestDenied "http_request_denied" 403,
    HttpResponseIncomplete "http_response_incomplete" 502,
    HttpResponseHeaderSectionSize "http_response_header_section_size" 502,
    HttpResponseHeaderSize "http_response_header_size" 502,
    HttpResponseBodySize "http_response_body_size" 502,
    HttpResponseTrailerSectionSize "http_response_trailer_section_size" 502,
    HttpResponseTrailerSize "http_response_trailer_size" 502,
    HttpResponseTransferCoding "http_response_transfer_coding" 502,
    HttpResponseContentCoding "http_response_content_coding" 502,
    HttpResponseTimeout "http_response_timeout" 504,
    HttpUpgradeFailed "http_upgrade_failed" 502,
    HttpProtocolError "http_protocol_error" 502,
    ProxyInternalResponse "proxy_internal_response" 500,
    ProxyInternalError "proxy_internal_error" 500,
    ProxyConfigurationError "proxy_configuration_error" 500,
    ProxyLoopDetected "proxy_loop_detected" 502,
}

impl ErrorType {
    /// The type with this exact token.
    pub fn parse(token: &str) -> Option<ErrorType> {
        ErrorType::ALL.iter().copied().find(|kind| kind.token() == token)
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.token())
    }
}
