// A real OpenID provider (panva's oidc-provider) for tests: argv[2] is the folder that it is installed in.
// Prints its issuer as the first line. Everyone is signed in as the person that the variable PERSON describes.
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { generateKeyPairSync } from 'node:crypto'

const require = createRequire(pathToFileURL(process.argv[2] + '/'))
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')))

const person = JSON.parse(process.env.PERSON)
const algorithm = process.env.ALGORITHM
const kinds = {
  RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  PS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generateKeyPairSync('ed25519'),
}
const key = { ...kinds[algorithm]().privateKey.export({ format: 'jwk' }), use: 'sig', alg: algorithm, kid: 'key-1' }
const other = { ...kinds.RS256().privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'key-2' }

const server = createServer()
await new Promise((ready) => server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', ready))
const issuer = `http://127.0.0.1:${server.address().port}`

const provider = new Provider(issuer, {
  jwks: { keys: algorithm === 'RS256' ? [key] : [key, other] },
  cookies: { keys: ['a key for the cookies of a test'] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
  scopes: ['openid', 'email', 'profile', 'groups', 'chat'],
  conformIdTokenClaims: process.env.CLAIMS_IN !== 'id_token',
  pkce: { required: () => true },
  enabledJWA: {
    idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'],
  },
  clientDefaults: { id_token_signed_response_alg: algorithm },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    registration: { enabled: true, initialAccessToken: 'register' },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        scope: 'chat',
        audience: resource,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: algorithm } },
      }),
    },
  },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ ...person, sub: id }) }),
  renderError: (ctx, out) => {
    ctx.type = 'json'
    ctx.body = out
  },
})

async function interact(request, response) {
  const { params, session, prompt } = await provider.interactionDetails(request, response)
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: person.sub } })
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
  grant.addOIDCScope(params.scope)
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '))
  }
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } })
}

const handle = provider.callback()
server.on('request', (request, response) => {
  if (!request.url.startsWith('/interaction/')) return handle(request, response)
  interact(request, response).catch((error) => {
    response.statusCode = 500
    response.end(String(error))
  })
})
process.stdin.on('end', () => process.exit(0)).resume()
console.log(issuer)
